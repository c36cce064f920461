"""Data sets of files: found, inspected, refused with the whole list of faults, split by subject, prepared, cached."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from coincide.data import (
    Case,
    DataSet,
    DataSetError,
    Preparation,
    PreparedPairs,
    from_bids,
    from_csv,
    from_folder,
    inspect,
    prepare,
    read_data_set,
    read_split,
    split,
    write_split,
)
from coincide.data.synthesis import Artefacts, Synthesis, draw, write_examples
from coincide.errors import IntensityError, MissingFileError, OptionError, OutputError, UnreadableFileError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import write_image, write_points, write_transform
from coincide.points import Points
from coincide.transforms import translation

GRID = Grid.from_spacing((20, 24, 18), (2.0, 2.0, 2.5), (-20, -24, -22))


def write(path, seed=0, grid=GRID, values=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).random(grid.shape).astype(np.float32) if values is None else values
    write_image(Image(torch.from_numpy(values), grid), path)
    return path


def write_labels(path, grid=GRID):
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = np.zeros(grid.shape, np.uint8)
    labels[3:9, 4:8], labels[10:15, 12:20] = 1, 5
    write_image(Image(torch.from_numpy(labels), grid, "label"), path)
    return path


def table(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, sorted({key for row in rows for key in row}))
        writer.writeheader()
        writer.writerows(rows)
    return path


def kinds(data):
    return sorted(problem.kind for problem in inspect(data).problems)


def test_a_folder_gives_images_their_companions_by_name_or_by_folder(tmp_path):
    write(tmp_path / "anna_1.nii.gz")
    write_labels(tmp_path / "anna_1_labels.nii.gz")
    write(tmp_path / "ben" / "visit2.nii.gz", 1)
    write_labels(tmp_path / "ben" / "labels" / "visit2.nii.gz")
    write_points(Points([[0, 1, 2]]), tmp_path / "ben" / "visit2_points.csv")
    write(tmp_path / "sub-07_T1w.nii.gz", 2)
    data = from_folder(tmp_path)
    found = {case.subject: case for case in data.cases}
    assert set(found) == {"anna_1", "ben", "07"}
    assert found["anna_1"].labels == tmp_path / "anna_1_labels.nii.gz"
    assert found["ben"].labels == tmp_path / "ben" / "labels" / "visit2.nii.gz"
    assert found["ben"].points == tmp_path / "ben" / "visit2_points.csv"
    assert found["07"].labels is None
    assert from_folder(tmp_path, subject="(anna)_").cases[0].subject == "anna"
    looks = inspect(data)
    looks.check()
    ben = next(look for look in looks.looks if look.case.subject == "ben")
    assert (ben.shape, ben.labels, ben.points) == ((20, 24, 18), 2, 1)
    assert ben.spacing == pytest.approx((2, 2, 2.5))
    assert ben.percentiles[2] == pytest.approx(0.5, abs=0.03)


def test_a_bids_tree_gives_segmentations_and_masks_of_its_derivatives(tmp_path):
    (tmp_path / "dataset_description.json").write_text("{}")
    for subject, session in (("01", "a"), ("01", "b"), ("02", "a")):
        name = f"sub-{subject}_ses-{session}"
        write(tmp_path / f"sub-{subject}" / f"ses-{session}" / "anat" / f"{name}_T1w.nii.gz")
        write(tmp_path / f"sub-{subject}" / f"ses-{session}" / "anat" / f"{name}_T2w.nii.gz")
    folder = tmp_path / "derivatives" / "seg" / "sub-01" / "ses-b" / "anat"
    write_labels(folder / "sub-01_ses-b_dseg.nii.gz")
    write_labels(folder / "sub-01_ses-b_space-MNI_dseg.nii.gz")
    write_labels(folder / "sub-01_ses-b_desc-brain_mask.nii.gz")
    data = read_data_set(tmp_path)
    assert len(data.cases) == 6
    assert data.subjects == ("01", "02")
    t1 = from_bids(tmp_path, "T1w")
    with_labels = [case for case in t1.cases if case.labels]
    assert [case.image.name for case in with_labels] == ["sub-01_ses-b_T1w.nii.gz"]
    assert with_labels[0].labels.name == "sub-01_ses-b_dseg.nii.gz"
    assert with_labels[0].mask.name == "sub-01_ses-b_desc-brain_mask.nii.gz"
    with pytest.raises(MissingFileError, match="no FLAIR image"):
        from_bids(tmp_path, "FLAIR")


def test_a_table_gives_images_with_parts_or_pairs_with_their_truth(tmp_path):
    write(tmp_path / "a.nii.gz")
    write(tmp_path / "b.nii.gz", 1)
    write_transform(translation((1, 2, 3)), tmp_path / "t.h5")
    images = table(
        tmp_path / "images.csv",
        [{"image": "a.nii.gz", "subject": "A", "part": "train"}, {"image": "b.nii.gz", "part": "validation"}],
    )
    data = read_data_set(images)
    assert [(case.subject, case.part) for case in data.cases] == [("A", "train"), ("b", "validation")]
    pairs = table(
        tmp_path / "pairs.csv",
        [
            {
                "fixed": "a.nii.gz",
                "moving": "b.nii.gz",
                "truth": "t.h5",
                "fixed_subject": "A",
                "moving_labels": "l.nii",
            }
        ],
    )
    pair = from_csv(pairs).pairs[0]
    assert (pair.fixed.subject, pair.moving.subject) == ("A", "b")
    assert (pair.moving.labels, pair.fixed.labels) == (tmp_path / "l.nii", None)
    assert pair.truth == tmp_path / "t.h5"


def test_tables_and_folders_that_are_none_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="no such folder or table"):
        read_data_set(tmp_path / "nowhere")
    with pytest.raises(MissingFileError, match="holds no image"):
        read_data_set(tmp_path)
    with pytest.raises(UnreadableFileError, match="expected image, or fixed and moving"):
        read_data_set(table(tmp_path / "x.csv", [{"picture": "a.png"}]))
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00image")
    with pytest.raises(UnreadableFileError, match="no CSV table"):
        read_data_set(tmp_path / "bad.csv")
    rows = [{"image": "", "part": "train"}, {"image": "a.nii", "part": "training"}]
    with pytest.raises(
        DataSetError, match=r"line 2: names no file(.|\n)*line 3: the part is 'training'"
    ) as caught:
        read_data_set(table(tmp_path / "rows.csv", rows))
    assert [problem.kind for problem in caught.value.problems] == ["missing", "split"]
    assert caught.value.exit_code == 3


def test_everything_that_is_wrong_is_listed_at_once(tmp_path):
    good = write(tmp_path / "good.nii.gz")
    other = Grid.from_spacing((20, 24, 17), (2.0, 2.0, 2.5), (-20, -24, -22))
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    (tmp_path / "points.csv").write_text("name,x\na,1\n")
    flat = Grid.from_spacing((20, 20), 1.0)
    write(
        tmp_path / "flat.nii.gz",
        grid=flat,
        values=np.random.default_rng(0).random((20, 20)).astype(np.float32),
    )
    cases = [
        Case(good, "a", labels=write_labels(tmp_path / "shape_labels.nii.gz", other), part="train"),
        Case(write(tmp_path / "second.nii.gz", 1), "b", mask=tmp_path / "no_mask.nii.gz", part="train"),
        Case(write(tmp_path / "third.nii.gz", 2), "b", points=tmp_path / "points.csv", part="test"),
        Case(tmp_path / "missing.nii.gz", "c", part="train"),
        Case(tmp_path / "broken.nii.gz", "d", part="train"),
        Case(write(tmp_path / "constant.nii.gz", values=np.ones(GRID.shape, np.float32)), "e", part="train"),
        Case(tmp_path / "flat.nii.gz", "f", part="train"),
        Case(good, "g"),
    ]
    found = inspect(DataSet(tuple(cases), source=tmp_path))
    where = {problem.kind: [] for problem in found.problems}
    for problem in found.problems:
        where[problem.kind].append(problem.where)
    assert {kind: len(places) for kind, places in where.items()} == {
        "twice": 1,
        "labels": 1,
        "missing": 2,
        "points": 1,
        "unreadable": 1,
        "values": 1,
        "dimension": 1,
        "split": 2,
        "empty": 1,
    }
    assert where["labels"] == [str(tmp_path / "shape_labels.nii.gz")]
    assert where["dimension"] == [str(tmp_path / "flat.nii.gz")]
    assert where["empty"] == ["validation"]
    assert "b" in where["split"]
    with pytest.raises(DataSetError, match="11 things are wrong") as caught:
        found.check()
    assert all(f"[{kind}]" in str(caught.value) for kind in where)
    assert len(found.looks) == 5


def test_a_truth_of_other_dimension_is_found(tmp_path):
    write_transform(translation((1, 2)), tmp_path / "t.h5")
    a, b = write(tmp_path / "a.nii.gz"), write(tmp_path / "b.nii.gz", 1)
    data = from_csv(table(tmp_path / "p.csv", [{"fixed": a.name, "moving": b.name, "truth": "t.h5"}]))
    assert kinds(data) == ["truth"]
    missing = from_csv(table(tmp_path / "q.csv", [{"fixed": a.name, "moving": b.name, "truth": "no.h5"}]))
    assert kinds(missing) == ["missing"]


def many(number, visits=2):
    cases = [Case(f"{s}_{v}.nii", f"s{s:02d}") for s in range(number) for v in range(visits)]
    return DataSet(tuple(cases))


def test_a_split_keeps_subjects_whole_and_follows_its_seed():
    data = many(20)
    first = split(data, (0.7, 0.2, 0.1), seed=3)
    assert {part: len(names) for part, names in first.subjects.items()} == {
        "train": 14,
        "validation": 4,
        "test": 2,
    }
    assert frozenset().union(*first.subjects.values()) == set(data.subjects)
    parts = [first.part(data, part) for part in first.subjects]
    assert sum(len(part.cases) for part in parts) == 40
    shuffled = DataSet(tuple(np.random.default_rng(0).permutation(np.array(data.cases, dtype=object))))
    assert split(shuffled, (0.7, 0.2, 0.1), seed=3) == first
    assert split(data, (0.7, 0.2, 0.1), seed=4) != first


def test_every_part_with_a_share_gets_a_subject():
    counts = {part: len(names) for part, names in split(many(3), (0.98, 0.01, 0.01)).subjects.items()}
    assert counts == {"train": 1, "validation": 1, "test": 1}
    assert len(split(many(2), (0.5, 0.5, 0.0)).subjects["test"]) == 0
    with pytest.raises(DataSetError, match="2 subject"):
        split(many(2))
    for shares in ((0.5, 0.4, 0.2), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)):
        with pytest.raises(OptionError, match="shares of a split"):
            split(many(9), shares)


def test_parts_that_the_data_set_names_are_kept_and_checked():
    cases = many(4, 1).cases
    named = [dataclasses.replace(c, part=p) for c, p in zip(cases, ("train", "validation", "train", "test"))]
    chosen = split(DataSet(tuple(named)))
    assert chosen.subjects["train"] == {"s00", "s02"}
    assert chosen.seed is None
    twice = [*named, Case("x.nii", "s00", part="test")]
    with pytest.raises(DataSetError, match="subject s00 is in test and train"):
        split(DataSet(tuple(twice)))
    with pytest.raises(DataSetError, match="'validation' is empty"):
        split(DataSet((named[0], named[2])))


def test_a_recorded_split_is_read_back_for_the_same_subjects_alone(tmp_path):
    data = many(6)
    chosen = split(data, seed=5)
    write_split(chosen, tmp_path / "split.json")
    assert read_split(tmp_path / "split.json", data) == chosen
    with pytest.raises(DataSetError, match="s06 is not in the split"):
        read_split(tmp_path / "split.json", many(7))
    record = json.loads((tmp_path / "split.json").read_text())
    record["subjects"]["test"].append(record["subjects"]["train"][0])
    (tmp_path / "twice.json").write_text(json.dumps(record))
    with pytest.raises(DataSetError, match="is in train and test"):
        read_split(tmp_path / "twice.json", data)
    (tmp_path / "bad.json").write_text('{"seed": 1}')
    with pytest.raises(UnreadableFileError, match="no record of a split"):
        read_split(tmp_path / "bad.json", data)
    with pytest.raises(MissingFileError):
        read_split(tmp_path / "none.json", data)


def test_intensities_are_brought_into_the_range_that_is_asked_for(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(50, 10, GRID.shape).astype(np.float32)
    values[0, 0, 0], values[1, 1, 1] = 900, -1000
    case = Case(write(tmp_path / "a.nii.gz", values=values), "a")

    def made(**options):
        return prepare(case, Preparation(**options)).image.numpy()[0]

    whole = made(intensity="range")
    assert whole == pytest.approx((values + 1000) / 1900, abs=1e-5)
    low, high = np.percentile(values, (0.5, 99.5))
    assert np.median(made(intensity="percentile")) == pytest.approx(
        (np.median(values) - low) / (high - low), abs=0.01
    )
    assert made(intensity="zscore").std() == pytest.approx(1, abs=1e-3)
    assert made(intensity="zscore").mean() == pytest.approx(0, abs=1e-4)
    window = made(intensity="window", window=(40, 60))
    assert window == pytest.approx(np.clip((values - 40) / 20, 0, 1), abs=1e-5)
    flat = Case(write(tmp_path / "b.nii.gz", values=np.ones(GRID.shape, np.float32)), "b")
    with pytest.raises(IntensityError, match="same value"):
        prepare(flat, Preparation(intensity="zscore"))


def test_images_and_labels_are_prepared_to_one_shape_around_the_mask(tmp_path):
    places = GRID.points()
    image = write(tmp_path / "a.nii.gz", values=(places @ (0.3, -0.2, 0.5)).astype(np.float32))
    labels = np.zeros(GRID.shape, np.uint8)
    labels[8:14, 4:10, 6:12] = 3
    write_image(Image(torch.from_numpy(labels), GRID, "label"), tmp_path / "m.nii.gz")
    case = Case(image, "a", labels=tmp_path / "m.nii.gz", mask=tmp_path / "m.nii.gz")
    made = prepare(case, Preparation(shape=(12, 12, 12), spacing=1.5, intensity="zscore"))
    assert made.image.grid.shape == (12, 12, 12)
    middle = GRID.world(np.array([10.5, 6.5, 8.5]))
    assert made.image.grid.centre == pytest.approx(middle)
    # a linear ramp survives any linear interpolation
    ramp = made.image.grid.points() @ (0.3, -0.2, 0.5)
    assert np.corrcoef(ramp.ravel(), made.image.numpy().ravel())[0, 1] > 0.99999
    assert set(made.labels.data.unique().tolist()) == {0, 3}
    index = GRID.index(made.labels.grid.points())
    inside = ((index > (8, 4, 6)) & (index < (13, 9, 11))).all(-1)
    assert (made.labels.numpy()[0][inside] == 3).all()
    assert bool(made.image.mask[6, 6, 6])
    with pytest.raises(OptionError, match="is 3-D"):
        prepare(case, Preparation(shape=(12, 12), spacing=1.5))


@pytest.mark.parametrize(
    "options",
    [
        {"intensity": "z-score"},
        {"shape": (8, 8)},
        {"spacing": 1.0},
        {"shape": (8, 8), "spacing": 0.0},
        {"window": (3.0, 3.0)},
    ],
)
def test_preparations_that_cannot_be_are_refused(options):
    with pytest.raises(OptionError, match=r"expected|Did you mean"):
        Preparation(**options)


def test_pairs_of_a_data_set_are_those_of_the_relation_and_batch(tmp_path):
    for name in ("sub-1_a", "sub-1_b", "sub-2_a"):
        write(tmp_path / f"{name}.nii.gz", hash(name) % 100)
    data = from_folder(tmp_path)
    made = Preparation(shape=(10, 10, 8), spacing=3.0)
    assert len(PreparedPairs(data, made)) == 6
    assert len(PreparedPairs(data, made, relation="same")) == 2
    assert len(PreparedPairs(data, made, relation="other")) == 4
    drawn = PreparedPairs(data, made, length=5, seed=1)
    batch = next(iter(DataLoader(drawn, batch_size=5)))
    assert batch["fixed"].shape == (5, 1, 10, 10, 8)
    assert torch.equal(drawn[3]["moving"], PreparedPairs(data, made, length=5, seed=1)[3]["moving"])
    with pytest.raises(DataSetError, match="no two cases of same subject"):
        PreparedPairs(DataSet(data.cases[1:], source=tmp_path), made, relation="same")
    with pytest.raises(OptionError, match="Did you mean 'other'"):
        PreparedPairs(data, made, relation="others")
    with pytest.raises(IndexError):
        drawn[5]


def test_the_cache_gives_the_same_and_notices_a_changed_file(tmp_path, monkeypatch):
    from coincide.data import prepared as module

    folder, kept = tmp_path / "data", tmp_path / "cache"
    path = write(folder / "a.nii.gz")
    write_labels(folder / "a_labels.nii.gz")
    write(folder / "b.nii.gz", 1)
    made = Preparation(shape=(10, 10, 8), spacing=3.0)
    calls = []
    real = module.prepare
    monkeypatch.setattr(module, "prepare", lambda *a: calls.append(a[0].title) or real(*a))

    def item():
        return PreparedPairs(from_folder(folder), made, cache=kept)[0]

    fresh = item()
    assert len(calls) == 2
    again = item()
    assert len(calls) == 2
    assert fresh.keys() == again.keys()
    assert all(torch.equal(fresh[key], again[key]) for key in fresh)
    next(kept.iterdir()).write_bytes(b"damaged")
    assert torch.equal(item()["fixed"], fresh["fixed"])
    assert len(calls) == 3
    write(path, 99)
    assert not torch.equal(item()["fixed"], fresh["fixed"])


def test_a_cache_that_cannot_be_written_says_so(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "data" / f"{name}.nii.gz")
    (tmp_path / "file").write_text("")
    pairs = PreparedPairs(
        from_folder(tmp_path / "data"), Preparation(), cache=str(tmp_path / "file" / "cache")
    )
    with pytest.raises(OutputError, match="Name another cache"):
        pairs[0]


def test_synthetic_pairs_written_as_files_are_a_data_set_with_their_truth(tmp_path):
    recipe = Synthesis(
        shape=(24, 22, 20), spacing=(8.0,) * 3, anatomies=("blobs",), artefacts=Artefacts(rate=1.0)
    )
    data = read_data_set(write_examples(recipe, range(2), tmp_path / "pairs"))
    inspect(data).check()
    assert data.subjects == ("blobs-0", "blobs-1")
    assert all(case.mask is not None for case in data.cases)
    example = draw(recipe, 1)
    pair, truth = PreparedPairs(data, Preparation(intensity="range")).pair(1)
    assert torch.equal(pair.fixed_labels.data, example.pair.fixed_labels.data)
    places = example.pair.fixed.grid.points()
    assert truth(places) == pytest.approx(example.truth(places), abs=1e-3)
    assert truth(pair.fixed_points.world) == pytest.approx(pair.moving_points.world, abs=1e-3)
