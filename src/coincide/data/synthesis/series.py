"""Series of pictures of a made-up anatomy that moves, with the truth of every frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from coincide.data.synthesis import acquisition
from coincide.data.synthesis.anatomy import Anatomy
from coincide.data.synthesis.artefacts import Artefacts, imaged
from coincide.data.synthesis.contrast import Contrast, coloured
from coincide.data.synthesis.film import FOG, Rays, radiograph
from coincide.data.synthesis.kinds import ANATOMIES
from coincide.data.synthesis.limbs import STILL, Bearing, limb
from coincide.data.synthesis.motion import Motion, random_affine
from coincide.data.synthesis.noise import smooth_noise
from coincide.data.synthesis.skeleton import hand
from coincide.data.synthesis.structures import STRUCTURES
from coincide.data.workers import one_thread_in_workers
from coincide.errors import OptionError, unknown
from coincide.grid import Grid
from coincide.ops.sample import sample
from coincide.transforms.linear import about, rotation_matrix

_MOVES_BY_ITSELF = ("phalanx", "metacarpal")
"""What of a hand moves against its wrist, whose motion is the truth."""


@dataclass(frozen=True)
class Films:
    """Series of 2-D pictures in which an anatomy moves smoothly as a whole, and a little within itself.

    Args:
        shape: pixels along each axis of a frame.
        spacing: mm of a pixel, the least and the most; each series draws its own.
        frames: how many.
        anatomies: what is pictured, each as likely as the others.
        rotation: degrees, the most that a series turns either way.
        shift: the most that it moves along an axis, as a share of the field of view.
        scale: the most by which it grows or shrinks, as a share.
        shear: likewise for each entry beside the diagonal.
        bend: mm, the most that places move against each other, as a standard deviation; it is no part of the truth.
        period: frames that a slow motion takes to come round, the least and the most.
        flicker: standard deviation of the log of a frame's brightness, the most.
        noise: standard deviation of a frame's noise, the most.
        missing: the most of a series that is not there, as a share; such frames are dark.
        repeated: the most of a series that shows the frame before once more.
        framed: share of the series whose field of view is cut off by an edge that stays where it is.
        contrast: brightness of tissues, where the anatomy is no radiograph.
        rays: what radiographs show besides.

    Raises:
        OptionError: a range that is none, or an unknown anatomy.
    """

    shape: int = 96
    spacing: tuple[float, float] = (1.8, 3.2)
    frames: int = 8
    anatomies: tuple[str, ...] = ("hand", "hand", "hand", "knee", "trunk_film", "body", "head", "blobs")
    rotation: float = 25.0
    shift: float = 0.15
    scale: float = 0.06
    shear: float = 0.03
    bend: float = 2.0
    period: tuple[float, float] = (6.0, 60.0)
    flicker: float = 0.15
    noise: float = 0.12
    missing: float = 0.2
    repeated: float = 0.2
    framed: float = 0.3
    contrast: Contrast = field(default_factory=Contrast)
    rays: Rays = field(default_factory=Rays)

    def __post_init__(self) -> None:
        for name in self.anatomies:
            if name not in ANATOMIES:
                raise unknown("anatomy", name, ANATOMIES)
        for name in ("spacing", "period"):
            low, high = getattr(self, name)
            if not 0 < low <= high < np.inf:
                raise OptionError(f"{name} is {low} to {high}, expected two numbers above 0, in order.")
        for name in ("missing", "repeated", "framed"):
            if not 0 <= getattr(self, name) <= 1:
                raise OptionError(f"{name} is {getattr(self, name)}, expected 0 to 1.")
        amounts = ("rotation", "shift", "scale", "shear", "bend", "flicker", "noise")
        if (
            self.shape < 16
            or self.frames < 2
            or not self.anatomies
            or any(getattr(self, name) < 0 for name in amounts)
        ):
            raise OptionError(
                f"films of {self.frames} frames of {self.shape} pixels cannot be made; expected two frames or more, "
                f"16 pixels or more, an anatomy, and amounts ({', '.join(amounts)}) of 0 or more."
            )

    def grid(self, spacing: float) -> Grid:
        """Where the pixels of a series lie: around the origin."""
        return Grid.from_spacing((self.shape,) * 2, spacing, np.full(2, -(self.shape - 1) / 2 * spacing))


class SyntheticSeries(Dataset):
    """Item `i` is the series of seed `first + i`, as tensors that batch; the same in any process.

    An item has `frames` `(frame, 1, *shape)`; `seen` `(frame,)` bool; `matrices` `(frame, 3, 3)`, reference → frame,
    and `points` `(point, 2)` of the anatomy in the reference, counted from the middle of the field of view in halves of
    its width; `reference` `(1, *shape)`, one of the frames; `fixed` and `moving`: the reference and the last frame.

    Args:
        films: what to make.
        first: seed of the first one; sets whose seeds do not meet share no series.
        points: how many.
    """

    def __init__(self, films: Films, first: int = 0, points: int = 96) -> None:
        self.films, self.first, self.points = films, first, points

    def __len__(self) -> int:
        return 2**31 - 1

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        one_thread_in_workers()
        return drawn(self.films, self.first + index, self.points)


def drawn(films: Films, seed: int, points: int) -> dict[str, Tensor]:
    """The series that `films` and `seed` stand for, as `SyntheticSeries` has it."""
    streams = np.random.SeedSequence(seed).spawn(6)
    choice, motion, imaging, marks, extra = (np.random.default_rng(streams[k]) for k in (0, 1, 2, 3, 5))
    body = int(streams[4].generate_state(1)[0])
    grid = films.grid(choice.uniform(*films.spacing))
    name = films.anatomies[int(choice.integers(len(films.anatomies)))]
    pose = random_affine(motion, Motion(180, 0.08 * grid.shape[0] * grid.spacing[0], 0.1, 0.03), grid.centre)
    ways = _ways(motion, films, grid)
    spreads = 0.4 + 1.3 * np.clip(
        motion.uniform(0.1, 0.9) + 0.3 * motion.random() * curves(motion, films, 1)[:, 0], 0, 1
    )
    bends = _bends(motion, films, grid)
    shot = _Shot.drawn(extra, films, name)
    palette, paint = int(choice.integers(2**62)), partial(_painted, films, name, body, grid, shot)
    shown, seen, pictures = _order(motion, films), _present(motion, films), {}
    frames, moves = [], name == "hand" or shot.bent is not None
    for n in shown:
        same = n if moves else 0
        if same not in pictures:
            pictures[same] = paint(palette, float(spreads[same]), same)
        picture, lattice, _ = pictures[same]
        frames.append(_seen_through(picture, lattice, pose.matrix, ways[n], bends[n], grid))
    reference = int(motion.choice(np.flatnonzero(seen)))
    stack = shot.cut_off(_filmed(imaging, films, np.stack(frames))) * seen[:, None, None]
    reference_way = ways[shown[reference]]
    matrices = np.stack([ways[n] @ np.linalg.inv(reference_way) for n in shown])
    anatomy = pictures[shown[reference] if moves else 0][2]
    if shot.bent is not None:
        anatomy = _still(anatomy, name)
    inside = _places(marks, anatomy, pose.matrix, reference_way, grid, points)
    half = grid.shape[0] * grid.spacing[0] / 2
    scale = np.diag([half, half, 1.0])
    told = torch.from_numpy(stack.astype(np.float32))[:, None]
    return {
        "frames": told,
        "seen": torch.from_numpy(seen),
        "matrices": torch.from_numpy(np.linalg.inv(scale) @ matrices @ scale).float(),
        "points": torch.from_numpy(inside / half).float(),
        "reference": told[reference],
        "fixed": told[reference],
        "moving": told[int(np.flatnonzero(seen)[-1])],
    }


def curves(rng: np.random.Generator, films: Films, number: int) -> np.ndarray:
    """Smooth courses over the frames, `(frame, number)`, within −1 and 1; quick parts are small."""
    time = np.arange(films.frames)[:, None]
    found = np.zeros((films.frames, number))
    for _ in range(3):
        period = np.exp(rng.uniform(np.log(films.period[0]), np.log(films.period[1]), number))
        found += (
            rng.normal(0, 1, number)
            * np.sqrt(period / films.period[1])
            * np.sin(2 * np.pi * time / period + rng.uniform(0, 2 * np.pi, number))
        )
    return np.tanh(found)


def _ways(rng: np.random.Generator, films: Films, grid: Grid) -> np.ndarray:
    """Where the anatomy is at each frame, `(frame, 3, 3)`: its rest → frame, mm."""
    limits = [films.rotation, films.shift, films.shift, films.scale, films.scale, films.shear]
    wide = grid.shape[0] * grid.spacing[0]
    course = curves(rng, films, 6) * rng.uniform(0, 1, 6) * limits
    found = []
    for turn, x, y, a, b, shear in course:
        linear = rotation_matrix(turn) @ np.array([[np.exp(a), shear], [0, np.exp(b)]])
        found.append(about(linear, np.array([x, y]) * wide, grid.centre).matrix)
    return np.stack(found)


def _bends(rng: np.random.Generator, films: Films, grid: Grid) -> np.ndarray:
    """Small smooth displacements within the anatomy, `(frame, 2, *shape)` mm."""
    fields = smooth_noise(rng, grid.shape, grid.shape[0] / 3, 2)
    course = curves(rng, films, 1)[:, 0] * rng.uniform(0, films.bend)
    return course[:, None, None, None] * fields


def _order(rng: np.random.Generator, films: Films) -> list[int]:
    """Which moment each frame shows: its own, or that of the one before."""
    again = rng.random(films.frames) < rng.uniform(0, films.repeated) * rng.integers(0, 2)
    shown = list(range(films.frames))
    for n in range(1, films.frames):
        shown[n] = shown[n - 1] if again[n] else n
    return shown


def _present(rng: np.random.Generator, films: Films) -> np.ndarray:
    """Which frames there are; two at the least."""
    there = rng.random(films.frames) >= rng.uniform(0, films.missing) * rng.integers(0, 2)
    there[rng.choice(films.frames, 2, replace=False)] = True
    return there


@dataclass(frozen=True, eq=False)
class _Shot:
    """What of `Rays` comes with a series.

    Args:
        bent: `(frame,)`, how far the joints of a limb in three dimensions are bent; None of one that is drawn flat.
        metal: whether there are implants.
        scatter: of the rays, as a share of those that come straight.
        diaphragm: `(*shape)`, what it lets through, or None.
        blank: brightness of what it does not.
    """

    bent: np.ndarray | None
    metal: bool
    scatter: float
    diaphragm: np.ndarray | None
    blank: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, films: Films, name: str) -> _Shot:
        rays, bent = films.rays, None
        solid, metal, cut, blank = rng.random(4) < (rays.solid, rays.implants, rays.collimated, 0.5)
        if solid and name in STILL:
            bent = rays.bent * np.clip(rng.random() + 0.5 * rng.random() * curves(rng, films, 1)[:, 0], 0, 1)
        scatter = rng.uniform(0, rays.scatter)
        diaphragm = acquisition.diaphragm(rng, (films.shape,) * 2, 0.25) if cut else None
        return cls(bent, bool(metal), scatter, diaphragm, float(blank))

    def cut_off(self, frames: np.ndarray) -> np.ndarray:
        """Frames `(frame, *shape)` as the diaphragm lets through, which stays where it is."""
        if self.diaphragm is None:
            return frames
        return self.blank + (frames - np.float32(self.blank)) * self.diaphragm


def _painted(
    films: Films, name: str, body: int, grid: Grid, shot: _Shot, palette: int, spread: float, moment: int
) -> tuple[np.ndarray, Grid, Anatomy]:
    """A sharp picture of the anatomy as it lies by itself."""
    rng = np.random.default_rng(body)
    if shot.bent is not None:
        anatomy = limb(rng, grid, name, Bearing(float(shot.bent[moment]), spread), shot.metal)
    else:
        anatomy = hand(rng, grid, spread) if name == "hand" else ANATOMIES[name](rng, grid)
    paint = np.random.default_rng(palette)
    if anatomy.layers is None:
        picture = coloured(paint, films.contrast, anatomy.labels, anatomy.detail[0])
    else:
        fog = FOG / float(anatomy.grid.spacing[0])
        picture = radiograph(paint, anatomy.layers, anatomy.matters, anatomy.detail[0], shot.scatter, fog)
    return np.ascontiguousarray(picture, np.float32), anatomy.grid, anatomy


def _seen_through(
    picture: np.ndarray, lattice: Grid, pose: np.ndarray, way: np.ndarray, bend: np.ndarray, grid: Grid
) -> np.ndarray:
    """A frame: the picture through its pose, bent, and moved along `way`."""
    back = lattice.inverse_affine @ pose @ np.linalg.inv(way)
    place = grid.points().reshape(-1, 2).T + bend.reshape(2, -1)
    index = back[:2, :2] @ place + back[:2, 2:]
    index = torch.from_numpy(np.ascontiguousarray(index.reshape(2, *grid.shape)))
    return sample(torch.from_numpy(picture)[None], index, "linear", "edge")[0].numpy()


def _filmed(rng: np.random.Generator, films: Films, frames: np.ndarray) -> np.ndarray:
    """What imaging makes of all frames: one blur, gain and gamma; flicker and noise of their own; a fixed edge."""
    once = Artefacts(noise=0.0, rate=0.0, bias=0.0)
    shape = frames.shape
    stacked, _ = imaged(rng, once, frames.reshape(shape[0] * shape[1], shape[2]))
    found = stacked.reshape(shape)
    kinds = list(acquisition.NOISES.values())
    noisy, amount = kinds[int(rng.integers(len(kinds)))], rng.uniform(0, films.noise)
    flicker = np.exp(rng.normal(0, rng.uniform(0, films.flicker), shape[0]))
    lift = rng.normal(0, rng.uniform(0, films.flicker) / 2, shape[0])
    found = np.stack(
        [noisy(rng, f * np.float32(g) + np.float32(o), amount) for f, g, o in zip(found, flicker, lift)]
    )
    if rng.random() < films.framed:
        found = found * acquisition.field_of_view(rng, shape[1:], 0.15)
    return found


def _still(anatomy: Anatomy, name: str) -> Anatomy:
    """A limb of which only those bones are told that keep still while its joints bend."""
    told = [STRUCTURES[part].label for part in STILL[name]]
    return replace(anatomy, labels=np.where(np.isin(anatomy.labels, told), anatomy.labels, 0))


def _places(
    rng: np.random.Generator, anatomy: Anatomy, pose: np.ndarray, way: np.ndarray, grid: Grid, number: int
) -> np.ndarray:
    """Places of the anatomy in the reference frame, `(number, 2)` mm; of a hand, those that move with the wrist."""
    apart = [s.label for name, s in STRUCTURES.items() if any(word in name for word in _MOVES_BY_ITSELF)]
    counted = (anatomy.labels > 0) & ~np.isin(anatomy.labels, apart)
    index = np.argwhere(counted) if counted.any() else np.argwhere(np.ones_like(counted))
    world = anatomy.grid.world(index[rng.integers(len(index), size=20 * number)])
    move = way @ np.linalg.inv(pose)
    world = world @ move[:2, :2].T + move[:2, 2]
    good = world[grid.inside(world, 0.0)]
    if len(good) < number:
        good = np.concatenate([good, rng.uniform(-0.3, 0.3, (number, 2)) * grid.shape[0] * grid.spacing[0]])
    return good[:number]
