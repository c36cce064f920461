"""A recurrent network follows the frames in time, the linear optimiser finishes, and the series says how smooth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from coincide.errors import DimensionError, OptionError
from coincide.grid import Grid
from coincide.image import Image
from coincide.methods.base import Context
from coincide.methods.classical.linear import Linear
from coincide.methods.learned.view import shown
from coincide.methods.recorder import Recorder
from coincide.methods.registry import parse
from coincide.methods.series.base import AbstractSeriesMethod, Series, SeriesSolution, as_told
from coincide.methods.series.bend import Bender, bent
from coincide.methods.series.framewise import Framewise
from coincide.methods.series.smoothing import LEAST, smoothed
from coincide.networks import chosen
from coincide.networks.sequence import Course, Memory
from coincide.optimise.linear import Fit, Problem, generators, optimise_linear
from coincide.optimise.progress import Event
from coincide.optimise.starts import score
from coincide.options import Count, NotNegative, build
from coincide.pair import Pair
from coincide.preprocess.foreground import foreground_weights, moments
from coincide.preprocess.normalise import normalise
from coincide.preprocess.shrink import shrink
from coincide.similarity import LNCC, NMI, Similarity
from coincide.transforms.base import Transform
from coincide.transforms.linear import Affine

_SIDE = 128
"""Pixels along each side of what the network is shown of a frame."""
_AT_A_TIME = 16
"""Frames whose features are worked out together."""
_LOST = 0.8
"""Share of what frames gain over unrelated images, in their middle, below which one is searched for from everywhere."""
_FINER = 4
"""How much coarser than the finest the level is on which the optimiser takes up what the network says, about."""


@dataclass(frozen=True)
class Sequence(AbstractSeriesMethod):
    """A recurrent network says where each frame lies, from the frames around it; the optimiser finishes each of them.

    Each frame starts from what the network says or from where the one before ended, whichever lays it better. In the
    end the courses are made smooth in time by as much as they themselves ask for (Gaussian processes of the greatest
    evidence): frames that were found wrongly or are missing follow from their neighbours. The network knows films (2-D)
    alone; in 3-D every frame starts from where the one before ended.

    Args:
        model: `"translation"`, `"rigid"`, `"similarity"`, `"affine"`, or `"deformable"`: affine, and then a smooth
            field for each frame, which goes on from that of the frame before.
        direction: `"both"` for a series that is complete, `"causal"` for one that is watched as it comes: a frame
            follows from those before it alone; `"alone"`: the network looks at each frame by itself, without memory.
        finish: what comes after the network: `"none"`, `"optimiser"`, or `"smooth"`, the optimiser and smoothing, which
            needs both directions; `"auto"` takes as much as the direction allows.
        similarity: followed by the optimiser.
        iterations: the most steps a level takes.
        local: similarity that fields follow, under `model=deformable`.
        detail: mm over which their forces are smoothed, which is the least length that bends by itself; 0 takes a 60th
            of the anatomy's size in films and a 25th in volumes.
        weights: a file that `coincide train` wrote; those that come with coincide where empty.
        network: its kind, `"sequence"`; `"flattened"`, the textbook's, which needs weights; or `"none"`: every frame
            starts from where the one before ended.

    Raises:
        OptionError: smoothing of a causal series, bending without a finish, or a similarity whose features do not turn
            with the image.
    """

    model: Literal["translation", "rigid", "similarity", "affine", "deformable"] = "affine"
    direction: Literal["both", "causal", "alone"] = "both"
    finish: Literal["auto", "none", "optimiser", "smooth"] = "auto"
    similarity: Similarity = NMI()  # noqa: RUF009 - frozen
    iterations: Count = 20
    local: Similarity = LNCC()  # noqa: RUF009 - frozen
    detail: NotNegative = 0.0
    weights: str = ""
    network: Literal["sequence", "flattened", "none"] = "sequence"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direction != "both" and self.finish == "smooth":
            raise OptionError(
                f"a series cannot be smoothed with direction={self.direction}: that takes what comes after. Take "
                "direction=both, or another finish."
            )
        if self.network == "none" and self.finish == "none":
            raise OptionError("without a network and without a finish nothing is done. Take one of them.")
        if self.direction == "alone" and self.network != "sequence":
            raise OptionError(
                f"direction=alone asks what the network sees in single frames, found network={self.network}. Take "
                "network=sequence, or another direction."
            )
        if self.model == "deformable" and self.finish == "none":
            raise OptionError(
                "the network's motion is linear; model=deformable takes a finish. Leave it out."
            )
        Linear(self._linear, self.similarity)  # it refuses what it cannot follow

    @property
    def _linear(self) -> Literal["translation", "rigid", "similarity", "affine"]:
        """The linear model."""
        return "affine" if self.model == "deformable" else self.model

    @property
    def _finish(self) -> str:
        if self.finish != "auto":
            return self.finish
        return "smooth" if self.direction == "both" else "optimiser"

    def follow(self, reference: Image, series: Series, context: Context = Context()) -> SeriesSolution:  # noqa: B008 - frozen
        _refuse(context)
        recorder, finish = Recorder(context.progress), self._finish
        frame = _Frame.of(reference, self._linear)
        starts = None
        if series.dim == 2 and self.network != "none":
            with recorder.timed("network"):
                recorder.say("series", "looking at all frames")
                starts = [frame.held(matrix) for matrix in self._looked(reference, series)]
        elif finish == "none":
            raise DimensionError(
                "the network follows films, which are 2-D; in 3-D it takes finish=optimiser."
            )
        matrices = starts or [np.eye(series.dim + 1)] * len(series)
        if finish != "none":
            with recorder.timed("optimiser"):
                matrices = self._finished(reference, series, frame, starts, context)
        if finish == "smooth":
            with recorder.timed("smoothing"):
                matrices = _smooth(series, frame, matrices, recorder)
        linear = [Affine(matrix, frame.centre) for matrix in matrices]
        transforms: tuple[Transform, ...] = tuple(linear)
        if self.model == "deformable":
            bender = Bender.of(reference, self.local, self.detail, self.iterations)
            with recorder.timed("bending"):
                transforms = bent(series, bender, linear, self.direction, finish == "smooth", context)
        return SeriesSolution(transforms, as_told(series), tuple(recorder.decisions), recorder.seconds)

    def live(self, reference: Image) -> Live:
        """What follows frames one at a time, by the network alone."""
        return Live(self, reference)

    def _looked(self, reference: Image, series: Series) -> list[np.ndarray]:
        """What the network says of every frame, reference-world mm → frame-world mm."""
        network, grid = chosen(self.network, self.weights), view_of(reference)
        picture = seen(reference, grid)[None]
        there = torch.from_numpy(series.seen)
        with torch.inference_mode():
            if self.network == "flattened":
                frames = torch.stack(
                    [seen(f, grid) if s else picture[0] for f, s in zip(series.frames, there)]
                )
                course = network(frames[None], there[None], picture)
            else:
                course = _course(network, picture, series, there, grid)
        found = {"both": course.both, "causal": course.causal, "alone": course.observed}[self.direction]
        return [in_world(matrix.double().numpy(), grid) for matrix in found[0]]

    def _finished(
        self,
        reference: Image,
        series: Series,
        frame: _Frame,
        starts: list[np.ndarray] | None,
        context: Context,
    ) -> list[np.ndarray]:
        """Every frame that is new after the optimiser; repeated and missing ones as those before them."""
        levels = self._levels(reference, starts is not None)
        basis = generators(self._linear, frame.centre, frame.radius)
        new = [int(n) for n in series.new]
        found, gains, last = {}, [], np.eye(series.dim + 1)
        for n in new:
            context.progress(Event("series", f"frame {n + 1} of {len(series)}", fraction=n / len(series)))
            tried = ([] if starts is None else [starts[n]]) + ([] if self.direction == "alone" else [last])
            moving = normalise(series.frames[n])
            fit = self._optimised(moving, levels, basis, tried)
            if gains and self.similarity.worst - fit.value < _LOST * np.median(gains):
                pair = Pair(reference, series.frames[n])
                far = Linear(self._linear, self.similarity).solve(pair).transform
                assert isinstance(far, Affine), "that is what it finds"
                again = self._optimised(moving, levels[-1:], basis, [far.matrix])
                fit = min(fit, again, key=lambda each: each.value)
            gains.append(self.similarity.worst - fit.value)
            found[n] = last = fit.matrix
        kept, last = [], np.eye(series.dim + 1)
        for n, origin in enumerate(series.origins):
            told = last if starts is None else starts[n]
            last = found[int(origin)] if series.seen[n] else told
            kept.append(last)
        return kept

    def _levels(self, reference: Image, started: bool) -> list[tuple[float, Problem]]:
        """Spacing and prepared problem of each level, coarse to fine; the moving side is still the reference's own."""
        image = normalise(reference)
        levels = Linear(self._linear, self.similarity).levels(image)
        finest = levels[-1][0]
        kept = [(s, g) for s, g in levels if not started or s <= 1.05 * _FINER * finest]
        shrunk = [(s, shrink(image, s, g)) for s, g in kept or levels[-1:]]
        return [(s, Problem.of(self.similarity, fixed, fixed)) for s, fixed in shrunk]

    def _optimised(
        self,
        frame: Image,
        levels: list[tuple[float, Problem]],
        basis: np.ndarray,
        starts: list[np.ndarray],
    ) -> Fit:
        """Where the best of `starts` leads to, and the value on the last level."""
        fit = Fit(starts[0], float("inf"), 0)
        for number, (spacing, level) in enumerate(levels):
            moving = shrink(frame, spacing)
            problem = replace(
                level,
                features=self.similarity.features(moving.data, mask=moving.mask),
                moving=moving.grid,
                mask=None if moving.mask is None else moving.mask.float(),
                _held={},
            )
            begun = fit.matrix
            if number == 0 and len(starts) > 1:
                begun = min(starts, key=lambda start: score(problem, start, self.similarity.worst))
            fit = optimise_linear(problem, begun, basis, self.iterations, 0.003 * spacing)
        return fit


class Live:
    """Follows frames as they come, by the network alone and in one direction.

    Args:
        method: its options.
        reference: what the frames are laid on.

    Raises:
        DimensionError: the reference is no film's.
        OptionError: the textbook's network, which only knows whole series.
    """

    def __init__(self, method: Sequence, reference: Image) -> None:
        if reference.dim != 2:
            raise DimensionError("the network follows films, which are 2-D, found a 3-D reference.")
        if method.network != "sequence" or method.model == "deformable":
            raise OptionError(
                "only the network 'sequence' follows frames one at a time, by linear transforms; found "
                f"network={method.network} and model={method.model}."
            )
        self._network, self._grid = chosen("sequence", method.weights), view_of(reference)
        self._frame, self._memory = _Frame.of(reference, method.model), Memory.blank(self._network)
        with torch.inference_mode():
            self._here = self._network.described(seen(reference, self._grid)[None])

    def next(self, frame: Image | None) -> Affine:
        """Where the next frame lies, reference-world mm → frame-world mm; None for one that is missing."""
        with torch.inference_mode():
            shown_ = None if frame is None else seen(frame, self._grid)[None]
            matrix, self._memory = self._network.next(shown_, self._here, self._memory)
        world = in_world(matrix[0].double().numpy(), self._grid)
        return Affine(self._frame.held(world), self._frame.centre)


@dataclass(frozen=True, eq=False)
class _Frame:
    """Where and how far the anatomy of the reference reaches, and the model that its motion is held to.

    Args:
        centre: mm.
        radius: mm.
        model: as of `Sequence`.
    """

    centre: np.ndarray
    radius: float
    model: str

    @classmethod
    def of(cls, reference: Image, model: str) -> _Frame:
        image = normalise(reference)
        mass = moments(image, foreground_weights(image))
        return cls(mass.centre, float(np.linalg.norm(mass.radii)), model)

    def numbers(self, matrix: np.ndarray) -> np.ndarray:
        """A matrix as numbers that all count in mm: where the centre goes, and how far the linear part moves places."""
        linear = matrix[:-1, :-1]
        shift = linear @ self.centre + matrix[:-1, -1] - self.centre
        return np.concatenate([((linear - np.eye(len(linear))) * self.radius).ravel(), shift])

    def matrix(self, numbers: np.ndarray) -> np.ndarray:
        """The matrix of such numbers, held to the model."""
        n = len(self.centre)
        matrix = np.eye(n + 1)
        matrix[:n, :n] += numbers[: n * n].reshape(n, n) / self.radius
        matrix[:n, n] = numbers[n * n :] + self.centre - matrix[:n, :n] @ self.centre
        return self.held(matrix)

    def held(self, matrix: np.ndarray) -> np.ndarray:
        """The matrix of the model that is nearest to `matrix` and carries the centre to the same place."""
        if self.model == "affine":
            return matrix
        n = len(self.centre)
        goal, linear = matrix[:n, :n] @ self.centre + matrix[:n, n], np.eye(n)
        if self.model != "translation":
            u, lengths, vt = np.linalg.svd(matrix[:n, :n])
            linear = u @ np.diag([*[1.0] * (n - 1), np.sign(np.linalg.det(u @ vt))]) @ vt
            linear = linear * (lengths.mean() if self.model == "similarity" else 1.0)
        out = np.eye(n + 1)
        out[:n, :n], out[:n, n] = linear, goal - linear @ self.centre
        return out


def view_of(reference: Image) -> Grid:
    """The square that the network sees: all of the reference's field of view, its axes along the world's."""
    corners = reference.grid.corners
    spacing = float(np.ptp(corners, axis=0).max()) / (_SIDE - 1)
    return Grid.from_spacing((_SIDE,) * 2, spacing, reference.grid.centre - (_SIDE - 1) / 2 * spacing)


def seen(image: Image, grid: Grid) -> torch.Tensor:
    """What the network is shown of an image on `grid`, `(1, *shape)`."""
    return shown(normalise(image), grid, np.eye(3))


def in_world(matrix: np.ndarray, grid: Grid) -> np.ndarray:
    """A matrix of the network as one of the world, mm."""
    half = np.eye(3)
    half[:2, :2] *= _SIDE * grid.spacing[0] / 2
    half[:2, 2] = grid.centre
    return half @ matrix @ np.linalg.inv(half)


def _course(network: Any, picture: torch.Tensor, series: Series, there: torch.Tensor, grid: Grid) -> Course:
    """What `network` says of a series, whose frames are looked at a few at a time."""
    here, told = network.described(picture), []
    for first in range(0, len(series), _AT_A_TIME):
        some = slice(first, first + _AT_A_TIME)
        frames = [seen(f, grid) if s else picture[0] for f, s in zip(series.frames[some], there[some])]
        told.append(network.observed(torch.stack(frames), here.expand(len(frames), *here.shape[1:])))
    observed, first_look, trust = (torch.cat(parts)[None] for parts in zip(*told))
    return network.followed(observed, first_look, trust * there, there[None])


def _refuse(context: Context) -> None:
    """Refuse what a run would not follow: nothing here is left to chance, and everything runs on the processor.

    Raises:
        OptionError: a seed, or another device.
    """
    if context.seed:
        raise OptionError(
            f"the seed is {context.seed}, but sequence leaves nothing to chance. Leave the seed out."
        )
    if context.device != "cpu":
        raise OptionError(
            f"the device is {context.device}, but sequence runs on the CPU alone. Leave the device out."
        )


def _smooth(
    series: Series, frame: _Frame, matrices: list[np.ndarray], recorder: Recorder
) -> list[np.ndarray]:
    """Courses made smooth; a repeated frame lies where the one lies that it repeats."""
    new = series.new
    if len(new) < LEAST:
        recorder.decide(f"{len(new)} frames are too few to tell motion from error; nothing was smoothed.")
        return matrices
    values = np.stack([frame.numbers(matrices[n]) for n in new])
    most = 0.5 * float(series.grid.spacing.min())
    courses, lost = smoothed(new.astype(float), values, series.times, most)
    moved = np.linalg.norm(courses[new] - values, axis=1)
    recorder.decide(
        f"Smoothing in time moved a frame by {np.median(moved):.2g} mm (median)"
        + (
            f"; {int(lost.sum())} frames that disagreed with their neighbours follow these."
            if lost.any()
            else "."
        )
    )
    return [frame.matrix(row) for row in courses]


def parse_series(spec: str) -> AbstractSeriesMethod:
    """The series method that `spec` names: `sequence` with its options, or any method for pairs, frame by frame.

    Raises:
        OptionError: an unknown method, option or value.
    """
    name = spec.split(":", maxsplit=1)[0].split("(", maxsplit=1)[0].strip().lower()
    known: Mapping[str, type] = {"sequence": Sequence}
    if name in known:
        from coincide.similarity import SIMILARITIES

        return build("method", spec, known, {Similarity: dict(SIMILARITIES)})
    return Framewise(parse(spec))
