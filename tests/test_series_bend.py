"""Series that bend: known smooth deformations of a real picture, followed frame by frame."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from coincide.errors import OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import read_transform, write_transform
from coincide.measures.motion import motion, places_of
from coincide.methods.base import Context
from coincide.methods.series import Sequence, Series, follow
from coincide.methods.series.bend import Bender
from coincide.similarity import LNCC
from coincide.transforms.chain import Chain
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import translation
from conftest import pictured

SIDE, FRAMES, STEP = 112, 14, 1.5
GRID = Grid.from_spacing((SIDE, SIDE + 8), STEP, (-80.0, 30.0))
MISSING, AGAIN = 4, 7
BUMPS = np.array([(-30.0, 95), (25, 120), (5, 70)]), np.array([(5.0, -3), (-4, 5), (3, 6)])


def pull(places, time):
    """How far the reference lies from places of a frame, mm: three bumps of 18 mm that come and go, each by itself."""
    found = np.zeros_like(places)
    for k, (centre, way) in enumerate(zip(*BUMPS)):
        course = np.sin(2 * np.pi * time / 14 + 2 * k) - np.sin(2 * k)
        found += course * way * np.exp(-((places - centre) ** 2).sum(-1, keepdims=True) / (2 * 18**2))
    return found


def truth(places, time):
    """Where places of the reference lie in a frame, by fixed points."""
    found = places
    for _ in range(60):
        found = places - pull(found, time)
    return found


@pytest.fixture(scope="module")
def film():
    """A stained tissue that bends, with noise, one frame missing and one repeated; at first it is as it is."""
    data = pytest.importorskip("skimage.data")
    photo = data.immunohistochemistry().astype(np.float32).mean(-1).reshape(128, 4, 128, 4).mean((1, 3))
    rng, frames = np.random.default_rng(0), []
    for n in range(FRAMES):
        world = GRID.points()
        index = np.moveaxis(GRID.index(world + pull(world, n)), -1, 0) + 4
        values = map_coordinates(photo, index, order=3, mode="nearest") + rng.normal(0, 12, GRID.shape)
        frames.append(Image(torch.from_numpy(values.astype(np.float32)), GRID))
    frames[MISSING] = Image(torch.zeros(1, *GRID.shape), GRID)
    frames[AGAIN] = frames[AGAIN - 1]
    return Series(tuple(frames), name="tissue")


PLACES = GRID.world(np.stack(np.meshgrid(np.arange(14, 98, 6), np.arange(14, 106, 6)), -1).reshape(-1, 2))
TIMES = [AGAIN - 1 if n == AGAIN else n for n in range(FRAMES)]


def off(transforms):
    """How far places are off, `(frame, place, 2)` mm."""
    return np.stack([t(PLACES) - truth(PLACES, n) for t, n in zip(transforms, TIMES)])


@pytest.fixture(scope="module")
def bent(film):
    return follow(film, Sequence("deformable", network="none"))[1]


def test_a_known_deformation_is_found_in_every_frame(film, bent):
    length = np.linalg.norm(off(bent.transforms), axis=-1).mean(1)
    _, flat = follow(film, Sequence("affine", network="none"))
    linear = np.linalg.norm(off(flat.transforms), axis=-1).mean(1)
    assert linear.max() > 1.5
    there = np.delete(np.arange(FRAMES), MISSING)
    assert length[there].mean() < 0.35 * linear[there].mean()
    assert length[there].max() < 0.6
    # the one that is missing follows from those around it
    assert length[MISSING] < 0.5 * linear[MISSING]
    assert bent.transforms[AGAIN](PLACES) == pytest.approx(bent.transforms[AGAIN - 1](PLACES), abs=1e-3)


def test_fields_shake_less_when_made_smooth_in_time(film, bent):
    _, raw = follow(film, Sequence("deformable", network="none", finish="optimiser"))
    there = np.delete(np.arange(FRAMES), [MISSING, AGAIN])
    shake = [
        np.linalg.norm(np.diff(off(s.transforms)[there], n=2, axis=0), axis=-1).mean() for s in (bent, raw)
    ]
    assert shake[0] < 0.9 * shake[1]
    # without it, what is missing is where the frame before was
    assert np.allclose(raw.transforms[MISSING](PLACES), raw.transforms[MISSING - 1](PLACES), atol=1e-6)


def test_what_bends_can_be_undone_and_folds_nowhere(bent):
    for transform in bent.transforms:
        assert np.abs(transform.inverse()(transform(PLACES)) - PLACES).max() < 0.1 * STEP
        slopes = np.stack(np.gradient(transform(GRID.points()), STEP, axis=(0, 1)), -1)
        assert np.linalg.det(slopes).min() > 0.05


def test_a_frames_transform_is_the_same_from_its_file(bent, tmp_path):
    write_transform(bent.transforms[6], tmp_path / "frame_0006.h5")
    found = read_transform(tmp_path / "frame_0006.h5")
    assert isinstance(found, Chain)
    assert np.abs(found(PLACES) - bent.transforms[6](PLACES)).max() < 1e-4


def test_motion_tells_bending_from_what_is_affine(bent):
    anatomy = places_of(np.ones(GRID.shape, bool), GRID)
    assert 1000 < len(anatomy) < 4000
    found = motion(bent.transforms, GRID, anatomy)
    true = np.stack([truth(anatomy, n) for n in TIMES])
    moved = np.linalg.norm(true - anatomy, axis=-1).mean(1)
    assert found["anatomy_mm"] == pytest.approx(moved, abs=0.35)
    assert found["bending_mm"].max() > 1
    shifted = motion([translation((3.0, -4.0))] * 2, GRID, anatomy)
    assert shifted["anatomy_mm"] == pytest.approx([5, 5])
    assert shifted["bending_mm"] == pytest.approx([0, 0], abs=1e-9)


def test_smoothing_leaves_fields_alone_that_nothing_foretells_and_fields_that_stand_still():
    image = pictured(Grid.from_spacing((40, 36), 2.0, (-40.0, -36.0)))
    bender = Bender.of(image, LNCC(), 0.0, 5)
    rng, times = np.random.default_rng(0), np.arange(12.0)
    jumps = torch.from_numpy(rng.normal(0, 3, (12, 2, *bender.grid.shape)).astype(np.float32))
    assert (bender.calmed(jumps, times, times, 0.1) - jumps).abs().max() < 0.05
    still = jumps[:1].expand(12, *jumps.shape[1:])
    assert torch.allclose(bender.calmed(still, times, times, 0.1), still)


def test_volumes_bend_too():
    grid = Grid.from_spacing((34, 36, 30), 2.5, (-42.0, -44.0, -37.0))
    world = grid.points()
    bump = np.exp(-((world - (8.0, 0, 0)) ** 2).sum(-1) / (2 * 14**2))[..., None] * (3.0, -3.5, 3)
    flows = [
        Displacement(torch.from_numpy(np.moveaxis(n * bump, -1, 0).astype(np.float32).copy()), grid)
        for n in (0, 0.5, 1)
    ]
    series = Series(tuple(pictured(grid, flow, name="x" * (n + 1)) for n, flow in enumerate(flows)))
    places = np.array([(8.0, 0, 0), (14, 6, -5), (2, -6, 8), (-12, 5, 5)])
    missed = {}
    for model in ("affine", "deformable"):
        _, solution = follow(series, Sequence(model))
        missed[model] = np.linalg.norm(solution.transforms[2](places) - flows[2](places), axis=1).mean()
    assert missed["deformable"] < 0.5 * missed["affine"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model": "deformable", "finish": "none"}, "takes a finish"),
        ({"direction": "alone", "finish": "smooth"}, "cannot be smoothed"),
        ({"direction": "alone", "network": "none"}, "single frames"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, told):
    with pytest.raises(OptionError, match=told):
        Sequence(**options)


def test_what_sequence_would_not_follow_is_refused(film):
    with pytest.raises(OptionError, match="leaves nothing to chance"):
        follow(film, Sequence(), context=Context(seed=3))
    with pytest.raises(OptionError, match="on the CPU"):
        follow(film, Sequence(), context=Context(device="cuda"))
    with pytest.raises(OptionError, match="by linear transforms"):
        Sequence("deformable").live(film.frames[0])


def test_single_frames_have_no_memory(film):
    """What is said of a frame alone stays the same when the others change."""
    method = Sequence("rigid", direction="alone", finish="none")
    _, whole = follow(film, method)
    other = Series((film.frames[0], *film.frames[:0:-1]))
    _, turned = follow(other, method)
    assert np.allclose(whole.transforms[2](PLACES), turned.transforms[FRAMES - 2](PLACES), atol=1e-3)
    causal = Sequence("rigid", direction="causal", finish="none")
    a, b = (follow(s, causal)[1].transforms for s in (film, other))
    assert not np.allclose(a[2](PLACES), b[FRAMES - 2](PLACES), atol=1e-3)
