"""Steps of `coincide preprocess` before data are learned from."""

import numpy as np
import pytest
import torch

from coincide.data import Case, Preparation, PreparedPairs, from_folder, prepare
from coincide.data.synthesis import Bend, Motion, Synthesis, write_examples
from coincide.errors import MissingFileError, OptionError
from coincide.image import Image
from coincide.io import read_image, write_image
from coincide.networks import make
from coincide.preprocess.normalise import normalise
from coincide.preprocess.pipeline import parse
from coincide.training.own import OwnData, own_pairs
from coincide.training.parse import filled
from phantom import grid_around, head, picture

STEPS = "median:radius=13 | threshold:at=40 | crop:margin=8 | match:reference={}"


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name, spacing in (("a", 8.0), ("b", 9.0)):
        grid = grid_around(3, spacing)
        write_image(picture(grid, noise=0.05), data / f"{name}.nii")
        write_image(
            Image((head(grid.points()) > 0.4).astype(np.uint8), grid, "label"), data / f"{name}_labels.nii"
        )
    write_image(picture(grid_around(3, 7.0), contrast=lambda v: v**2), tmp_path / "other.nii")
    return data


def test_steps_are_done_on_image_and_labels_before_all_else(folder):
    steps = STEPS.format(other := folder.parent / "other.nii")
    case = Case(folder / "a.nii", "a", labels=folder / "a_labels.nii")
    found = prepare(case, Preparation(steps=steps))
    labels = read_image(folder / "a_labels.nii", kind="label")
    done = parse(steps)(read_image(folder / "a.nii"), labels, {str(other): read_image(other)})
    assert done.image.grid.size < labels.grid.size
    assert found.image.grid.matches(done.image.grid)
    torch.testing.assert_close(found.image.data, normalise(done.image).data)
    assert torch.equal(found.labels.data, done.labels.data)
    shaped = prepare(case, Preparation((12, 14, 12), 9.0, steps=steps))
    assert shaped.image.grid.shape == shaped.labels.grid.shape == (12, 14, 12)


def test_what_is_kept_goes_by_the_steps_and_by_the_files_they_look_at(folder, tmp_path):
    other, kept = folder.parent / "other.nii", tmp_path / "cache"

    def item(steps):
        return PreparedPairs(from_folder(folder), Preparation((12, 14, 12), 9.0, steps=steps), cache=kept)[0][
            "fixed"
        ]

    first, number = item(f"match:reference={other}"), len(list(kept.iterdir()))
    assert torch.equal(item(f"match:reference={other}"), first)
    assert len(list(kept.iterdir())) == number
    assert not torch.equal(item(""), first)
    write_image(picture(grid_around(3, 7.0), contrast=lambda v: 1 - v), other)
    assert not torch.equal(item(f"match:reference={other}"), first)
    other.unlink()
    with pytest.raises(MissingFileError, match=r"other\.nii"):
        item(f"match:reference={other}")


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ("median | gausian", "Did you mean 'gaussian'"),
        ("undistort:k1=0.1", "elsewhere in the world"),
        ("median | untilt:angle=12", "elsewhere in the world"),
    ],
)
def test_steps_that_cannot_be_done_are_refused_before_anything_is_read(steps, says):
    with pytest.raises(OptionError, match=says):
        Preparation(steps=steps)
    with pytest.raises(OptionError, match=says):
        filled(OwnData, {"source": "none", "steps": steps}, "recipe")
    assert Preparation(steps="untilt").pipeline is not None


def test_a_recipe_of_training_has_steps(tmp_path):
    recipe = Synthesis(
        shape=(40, 40),
        spacing=(4.0, 4.0),
        anatomies=("blobs",),
        pose=Motion(0, 0, 0, 0),
        motion=Motion(2, 3, 0.02, 0.01),
        bend=Bend(3.0),
    )
    source = str(write_examples(recipe, range(2), tmp_path / "pairs"))
    network = make("pyramid", {"dim": 2, "channels": [4, 4], "matched": 3, "rounds": [1], "spacing": 4.0})
    plain, steps = (
        own_pairs(OwnData(source, kept_back=0.4, steps=s), network, tmp_path, 0).train[0]
        for s in ("", "gaussian:sigma=8")
    )
    roughness = [float(item["fixed"].diff(dim=1).abs().mean()) for item in (plain, steps)]
    assert roughness[1] < 0.8 * roughness[0]
