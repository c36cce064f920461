"""`coincide.label`: atlases onto a target, resumed, written, and refused; and the command."""

import csv
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

import coincide
from coincide.cli import main
from coincide.cohort.labelling import label
from coincide.errors import (
    DimensionError,
    LabelError,
    MissingFileError,
    OptionError,
    OutputError,
    RegistrationFailedError,
)
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import write_image
from coincide.measures.overlap import dice
from coincide.methods import AbstractMethod, Context, Solution, Status
from coincide.report.labelling import write_labelling
from coincide.transforms import identity, rigid
from conftest import BLOBS, organ

METHOD = "linear:model=rigid"


def parts(world: np.ndarray) -> np.ndarray:
    """Labels of the organ: its body, and three of its blobs."""
    found = np.where(organ(world) > 30, 1, 0)
    for number, (centre, width, _) in zip((2, 614454277, 40), BLOBS[1:4]):
        apart = (world - np.array(centre[: world.shape[-1]])) / np.array(width[: world.shape[-1]])
        found[(np.abs(apart) ** 2).sum(-1) < 1] = number
    return found


def atlas_of(dim: int, truth, seed: int, spacing: float = 2.0) -> tuple[Image, Image]:
    """The organ moved by `truth` (target mm → atlas mm), and its labels with some mistakes."""
    grid = Grid.from_spacing((38,) * dim, spacing, (-38.0,) * dim)
    world, rng = truth.inverse()(grid.points()), np.random.default_rng(seed)
    image = Image(
        (organ(world) + rng.standard_normal(grid.shape)).astype(np.float32), grid, name=f"atlas{seed}.nii.gz"
    )
    labels = parts(world + rng.normal(scale=1.5, size=dim))  # whoever drew them was off by a little
    return image, Image(labels, grid, "label", name=f"labels{seed}.nii.gz")


def case(dim: int, number: int = 3):
    """A target, its true labels, and atlases that lie elsewhere."""
    grid = Grid.from_spacing((40, 36, 34)[:dim], 2.0, (-40.0, -36.0, -34.0)[:dim])
    image = Image(
        (organ(grid.points()) + np.random.default_rng(9).standard_normal(grid.shape)).astype(np.float32),
        grid,
        name="target.nii.gz",
    )
    angles = [(4, -6, 8), (-10, 3, 5), (2, 9, -7), (6, 6, 6)]
    truths = [rigid(a[:1] if dim == 2 else a, (3, -2, 1.5)[:dim], np.zeros(dim)) for a in angles[:number]]
    return image, parts(grid.points()), [atlas_of(dim, t, n) for n, t in enumerate(truths)]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Where all tests keep their registrations, so that none is made twice."""
    return tmp_path_factory.mktemp("shelf")


@dataclass(frozen=True)
class Counted(AbstractMethod):
    """Leaves things where they are, and counts how often it was asked."""

    status: str = "SUCCEEDED"

    def solve(self, pair, context=Context()):
        ASKED.append(pair.moving.name)
        return Solution(identity(pair.dim), identity(pair.dim), Status[self.status])


ASKED: list[str] = []


@pytest.mark.parametrize("fusion", ["joint", "local", "majority"])
@pytest.mark.parametrize("dim", [2, 3])
def test_fused_labels_are_nearer_the_truth_than_the_mean_atlas(dim, fusion, shelf):
    target, truth, atlases = case(dim, 4)
    found = label(target, atlases, METHOD, fusion, shelf=shelf)
    assert [run.used for run in found.atlases] == [True] * 4
    assert found.labels.grid == target.grid
    assert set(np.unique(found.labels.numpy())) <= {0, 1, 2, 614454277, 40}
    single = [label(target, [atlas], METHOD, "majority", shelf=shelf) for atlas in atlases]
    scores = [np.mean(list(dice(truth, one.labels.numpy()[0]).values())) for one in [found, *single]]
    assert scores[0] > np.mean(scores[1:])
    assert scores[0] > 0.65
    confidence = found.confidence.numpy()[0]
    assert 0 < confidence[truth > 0].min() < 1
    assert confidence.max() == pytest.approx(1)
    # what is voted on is told truly: where the winner is wrong, the votes were divided
    wrong = found.labels.numpy()[0] != truth
    assert confidence[wrong].mean() < confidence[~wrong].mean()


def test_volumes_are_counted_and_their_spread_is_that_of_the_atlases(shelf):
    target, _, atlases = case(3, 3)
    found = label(target, atlases, METHOD, names={2: "knob"}, shelf=shelf)
    values = found.labels.numpy()[0]
    assert [v.label for v in found.volumes] == sorted(set(np.unique(values)) - {0})
    for volume in found.volumes:
        assert volume.voxels == (values == volume.label).sum()
        assert volume.amount == pytest.approx(volume.voxels * 8 / 1000)
        inside = found.confidence.numpy()[0][values == volume.label]
        assert volume.confidence == pytest.approx(inside.mean(), abs=1e-6)
    assert next(v.name for v in found.volumes if v.label == 2) == "knob"
    single = [label(target, [a], METHOD, "majority", shelf=shelf) for a in atlases]
    amounts = [next(v.amount for v in one.volumes if v.label == 1) for one in single]
    assert next(v.spread for v in found.volumes if v.label == 1) == pytest.approx(np.std(amounts, ddof=1))
    assert single[0].volumes[0].spread is None
    assert "nothing checks them" in single[0].decisions[-1]


def test_what_is_on_the_shelf_is_not_registered_again(tmp_path):
    target, _, atlases = case(2)
    ASKED.clear()
    once = label(target, atlases[:2], Counted(), shelf=tmp_path / "shelf")
    assert len(ASKED) == 2
    again = label(target, atlases, Counted(), "majority", shelf=tmp_path / "shelf")
    assert ASKED[2:] == [atlases[2][0].name]
    assert [run.resumed for run in again.atlases] == [True, True, False]
    assert [run.resumed for run in once.atlases] == [False, False]
    # another target, another atlas, other options: nothing of it fits
    other = replace(target, data=target.data + 1)
    label(other, atlases[:1], Counted(), shelf=tmp_path / "shelf")
    assert len(ASKED) == 4
    # what is spoiled is made again
    for file in (tmp_path / "shelf").rglob("atlas.json"):
        file.write_text("{", encoding="utf-8")
    label(target, atlases[:1], Counted(), shelf=tmp_path / "shelf")
    assert len(ASKED) == 5
    assert not list((tmp_path / "shelf").glob(".carried*"))


def test_an_interrupted_run_goes_on(tmp_path):
    target, _, atlases = case(2)
    ASKED.clear()

    def stop(event):
        if event.message == "atlas 3 of 3":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(target, atlases, Counted(), shelf=tmp_path, progress=stop)
    assert not list(tmp_path.glob(".carried*"))
    whole = label(target, atlases, Counted(), shelf=tmp_path)
    assert len(ASKED) == 3
    fresh = label(target, atlases, Counted())
    np.testing.assert_array_equal(whole.labels.numpy(), fresh.labels.numpy())


def test_an_atlas_that_failed_does_not_vote(shelf):
    target, _, atlases = case(2)
    with pytest.raises(RegistrationFailedError, match="none of the 3 atlases"):
        label(target, atlases, Counted("NO_OVERLAP"))
    # one atlas shows something else altogether
    noise = np.random.default_rng(2).standard_normal(atlases[2][0].grid.shape).astype(np.float32)
    strange = replace(atlases[2][0], data=torch.from_numpy(noise)[None], name="strange.nii.gz")
    found = label(target, [*atlases[:2], (strange, atlases[2][1])], METHOD, shelf=shelf)
    assert found.atlases[2].verdict.level == "failed"
    assert not found.atlases[2].used
    assert found.atlases[2].dice is None
    assert any("strange.nii.gz did not vote" in d for d in found.decisions)


def test_threads_change_nothing(shelf):
    target, _, atlases = case(3, 2)
    one, two = (label(target, atlases, METHOD, threads=n, shelf=shelf) for n in (1, 2))
    np.testing.assert_array_equal(one.labels.numpy(), two.labels.numpy())
    np.testing.assert_array_equal(one.confidence.numpy(), two.confidence.numpy())


def test_odd_input_is_refused(tmp_path):
    target, _, atlases = case(2, 1)
    image, labels = atlases[0]
    with pytest.raises(OptionError, match="no atlas"):
        label(target, [], METHOD)
    with pytest.raises(OptionError, match="staple"):
        label(target, atlases, METHOD, "staple")
    with pytest.raises(LabelError, match="no label but 0"):
        label(target, [(image, labels.with_data(labels.data * 0))], METHOD)
    shifted = Image(
        labels.data, Grid.from_spacing(labels.grid.shape, 2.0, (4.0, 0.0)), "label", name="l.nii.gz"
    )
    with pytest.raises(LabelError, match="another grid"):
        label(target, [(image, shifted)], METHOD)
    solid, _, _ = case(3, 1)
    with pytest.raises(DimensionError, match="same number of dimensions"):
        label(solid, atlases, METHOD)
    (tmp_path / "file").write_text("here", encoding="utf-8")
    with pytest.raises(OutputError, match="cannot be written"):
        label(target, atlases, METHOD, shelf=tmp_path / "file")


@pytest.mark.parametrize("dim", [2, 3])
def test_a_labelling_is_written_and_read_again(tmp_path, dim, shelf):
    target, _, atlases = case(dim, 2)
    found = label(target, atlases, METHOD, "majority", names={1: "body & <soul>"}, shelf=shelf)
    names = write_labelling(found, tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(names)
    back = coincide.read_image(tmp_path / "out" / "labels.nii.gz", kind="label")
    np.testing.assert_array_equal(back.numpy(), found.labels.numpy())
    with open(tmp_path / "out" / "volumes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == [v.label for v in found.volumes]
    assert float(rows[0]["ml" if dim == 3 else "cm2"]) == pytest.approx(found.volumes[0].amount, abs=1e-3)
    record = json.loads((tmp_path / "out" / "labelling.json").read_text(encoding="utf-8"))
    assert record["fusion"]["kind"] == "Majority"
    assert record["atlases"][0]["voted"]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 4
    assert "body &amp; &lt;soul&gt;" in page
    assert "http" not in page


def test_the_command_labels_and_goes_on(tmp_path, capsys):
    target, _, atlases = case(2, 2)
    coincide.write_image(target, tmp_path / "target.nii.gz")
    arguments = ["label", str(tmp_path / "target.nii.gz"), "--out", str(tmp_path / "out"), "--method", METHOD]
    for number, (image, labels) in enumerate(atlases):
        for name, part in (("image", image), ("labels", labels)):
            coincide.write_image(part, tmp_path / f"{name}{number}.nii.gz")
        arguments += [
            "--atlas",
            str(tmp_path / f"image{number}.nii.gz"),
            str(tmp_path / f"labels{number}.nii.gz"),
        ]
    (tmp_path / "names.csv").write_text("label,name\n2,the knob\n", encoding="utf-8")
    arguments += ["--names", str(tmp_path / "names.csv")]
    assert main(arguments) == 0
    assert "2 of 2 atlases voted" in capsys.readouterr().out
    assert "the knob" in (tmp_path / "out" / "volumes.csv").read_text(encoding="utf-8")
    assert len(list((tmp_path / "out" / "atlases").glob("*/transform.h5"))) == 2
    assert main([*arguments, "--fusion", "majority"]) == 0
    assert "(earlier)" in capsys.readouterr().out
    (tmp_path / "names.csv").write_text("label,name\nsome,thing\n", encoding="utf-8")
    assert main(arguments) == 3
    assert "line 2" in capsys.readouterr().err
    assert main([*arguments[:6]]) == 2
    for wrong in (["--atlas", "a.nii.gz"], ["b.nii.gz", "--atlas", "a.nii.gz"]):
        assert main([*arguments[:6], *wrong]) == 3
        assert "--atlas IMAGE LABELS" in capsys.readouterr().err


def test_a_label_that_wins_no_voxel_is_told_of(shelf):
    target, _, atlases = case(2, 3)
    marked = []
    for number, (image, labels) in enumerate(atlases):
        values = labels.data.clone()
        # a voxel of its own in each, at another place: no two atlases agree on it
        values[0, 2 + 9 * number, 2] = 7
        marked.append((image, labels.with_data(values)))
    found = label(target, marked, METHOD, "majority", shelf=shelf)
    (lost,) = (volume for volume in found.volumes if volume.label == 7)
    assert (lost.voxels, lost.amount) == (0, 0)
    assert any("won no voxel: 7" in told for told in found.decisions)


def test_an_atlas_whose_labels_are_anothers_is_told_of(shelf):
    target, _, atlases = case(2, 4)
    image, labels = atlases[2]
    wrong = labels.with_data(labels.data.flip(1))
    found = label(target, [*atlases[:2], (image, wrong), atlases[3]], METHOD, shelf=shelf)
    assert next(told for told in found.decisions if "far less" in told).startswith(image.name)
    right = label(target, atlases, METHOD, shelf=shelf)
    assert not any("far less" in told for told in right.decisions)


def test_an_atlas_votes_once(tmp_path):
    target, _, atlases = case(2, 1)
    for image in atlases[0]:
        write_image(image, tmp_path / image.name)
    files = tuple(tmp_path / image.name for image in atlases[0])
    with pytest.raises(OptionError, match="twice"):
        label(target, [files, files], METHOD)


def test_a_refused_labelling_registers_nothing_and_leaves_no_folder(tmp_path):
    target, _, atlases = case(2, 1)
    told = []
    with pytest.raises(MissingFileError, match=r"mistyped\.nii\.gz"):
        label(
            target,
            [*atlases, (tmp_path / "mistyped.nii.gz", tmp_path / "labels.nii.gz")],
            METHOD,
            shelf=tmp_path / "out" / "atlases",
            progress=told.append,
        )
    assert not told

    def refuse(event):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(target, atlases, METHOD, shelf=tmp_path / "out" / "atlases", progress=refuse)
    assert not list(tmp_path.iterdir())
