"""The pictures of a registration: what each shows, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from coincide.image import Image
from coincide.report import paint
from coincide.report.planes import Cut
from coincide.report.scene import Scene, View


@dataclass(frozen=True)
class Layer:
    """One way to look at a registration.

    Args:
        name: short, for links.
        title: what the button says.
        caption: what is seen, and how to read it.
        legend: colours and what they stand for, as `(colour, words)`.
        pictures: one for each plane, `(rows, columns, 3)`, 0 to 1.
    """

    name: str
    title: str
    caption: str
    legend: tuple[tuple[str, str], ...]
    pictures: tuple[np.ndarray, ...]


def comparison(scene: Scene) -> tuple[Layer, Layer]:
    """The outlines of the fixed image on the moving one, before and after."""
    legend = ((css(paint.FIXED), "edges of the fixed image"),)
    words = (
        "Edges of the fixed image on the moving image, {}. Where the two agree, the lines lie on its edges."
    )
    return (
        Layer(
            "edges-before",
            "Before",
            words.format("as the headers place it"),
            legend,
            _each(scene, _edges_before),
        ),
        Layer("edges-after", "After", words.format("registered"), legend, _each(scene, _edges_after)),
    )


def closer(scene: Scene) -> tuple[Layer, ...]:
    """All the other pictures there is something to show in."""
    makers = [_fixed, _before, _after, _checkerboard, _difference_before, _difference_after]
    makers += [_grid, _jacobian, _displacement] if scene.bends else [_grid]
    if any(v.labels is not None or v.fixed_labels is not None for v in scene.views):
        makers.append(_outlines)
    found = tuple(make(scene) for make in makers)
    pair = scene.registration.pair
    if pair.landmarks:
        landmarks, partners = pair.landmarks
        carried = partners.mapped(scene.registration.inverse)
        found = (*found, _landmarks(scene, landmarks.world, carried.world))
    if scene.registration.uncertainty is not None:
        found = (*found, _uncertainty(scene, scene.registration.uncertainty))
    return found if scene.registration.matches is None else (*found, _matches(scene))


def _each(scene: Scene, draw: Callable[[View], np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple(draw(view) for view in scene.views)


def short(name: str) -> str:
    """A file's name without its folders."""
    return name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def css(colour: np.ndarray) -> str:
    """A colour as a web page writes it."""
    return "#" + "".join(f"{round(float(c) * 255):02x}" for c in colour)


def _edges_on(view: View, picture: np.ndarray) -> np.ndarray:
    scale = max(1.6, 1.1 / view.plane.pixel) if view.plane.normal is not None else 1.8
    return paint.over(paint.grey(picture), paint.FIXED, 0.95 * paint.edges(view.fixed, scale))


def _edges_before(view: View) -> np.ndarray:
    return _edges_on(view, view.before)


def _edges_after(view: View) -> np.ndarray:
    return _edges_on(view, view.after)


def _fixed(scene: Scene) -> Layer:
    name = short(scene.registration.pair.fixed.name)
    words = f"The fixed image ({name}). Flicker between it and “After”: what jumps does not match."
    return Layer("fixed", "Fixed", words, (), _each(scene, lambda v: paint.grey(v.fixed)))


def _before(scene: Scene) -> Layer:
    words = f"The moving image ({short(scene.registration.pair.moving.name)}) where its header puts it."
    return Layer("before", "Before", words, (), _each(scene, lambda v: paint.grey(v.before)))


def _after(scene: Scene) -> Layer:
    words = "The moving image carried onto the fixed one, resampled once through the whole transform."
    return Layer("after", "After", words, (), _each(scene, lambda v: paint.grey(v.after)))


def _checkerboard(scene: Scene) -> Layer:
    square = max(12, round(max(v.plane.shape[0] for v in scene.views) / 9))
    fixed_tint, moving_tint = (0.86 + 0.14 * c for c in (paint.FIXED, paint.MOVING))

    def draw(view: View) -> np.ndarray:
        board = paint.checkerboard(view.plane.shape, square)[..., None]
        return np.where(board, paint.grey(view.fixed) * fixed_tint, paint.grey(view.after) * moving_tint)

    words = (
        "Squares of the fixed image (warm) and of the registered one (cool); structures should run across."
    )
    legend = ((css(paint.FIXED), "fixed"), (css(paint.MOVING), "moving, registered"))
    return Layer("checkerboard", "Checkerboard", words, legend, _each(scene, draw))


def _difference_before(scene: Scene) -> Layer:
    return _difference(scene, "before", "Difference before", "as the headers place it")


def _difference_after(scene: Scene) -> Layer:
    return _difference(scene, "after", "Difference after", "registered")


def _difference(scene: Scene, which: str, title: str, words: str) -> Layer:
    expected = _expectation(scene)

    def draw(view: View) -> np.ndarray:
        apart = view.fixed - expected(getattr(view, which))
        seen = view.inside & getattr(view, f"covered_{which}")
        return paint.two_sided(1.6 * np.where(seen, apart, 0))

    legend = ((css(paint.MORE), "fixed image brighter"), (css(paint.LESS), "fixed image darker"))
    caption = (
        f"The fixed image minus what the moving image, {words}, lets one expect of it: the mean fixed "
        "intensity found beside each moving intensity, so that images of different kinds can be compared. "
        "Dark is agreement."
    )
    return Layer(f"difference-{which}", title, caption, legend, _each(scene, draw))


def _expectation(scene: Scene, bins: int = 64) -> Callable[[np.ndarray], np.ndarray]:
    """From a moving intensity (0 … 1) to the mean fixed intensity beside it once registered."""
    fixed = np.concatenate([v.fixed[v.inside & v.covered_after] for v in scene.views])
    moving = np.concatenate([v.after[v.inside & v.covered_after] for v in scene.views])
    index = np.minimum((moving * bins).astype(int), bins - 1)
    number = np.bincount(index, minlength=bins).astype(float)
    total = np.bincount(index, fixed, minlength=bins)
    # an empty bin borrows from its neighbours
    reach = np.exp(-0.5 * ((np.arange(bins)[:, None] - np.arange(bins)) / 1.5) ** 2) + 1e-9
    mean = (reach @ total) / np.maximum(reach @ number, 1e-9)
    centres = (np.arange(bins) + 0.5) / bins
    return lambda values: np.interp(values, centres, mean).astype(np.float32)


def _grid(scene: Scene) -> Layer:
    extent = max(max(v.plane.shape) * v.plane.pixel for v in scene.views)
    step = _nice(extent / 26)

    def draw(view: View) -> np.ndarray:
        target = view.bent if scene.bends else scene.registration.transform(view.plane.points)
        lines = [
            paint.level_lines(target @ axis, step, 1.3)
            for axis in (np.abs(view.plane.across), np.abs(view.plane.down))
        ]
        picture = paint.over(paint.dimmed(view.fixed, 0.6), paint.MOVING, 0.9 * np.maximum(*lines))
        return paint.over(picture, paint.FOLD, view.folded)

    what = "without its linear part, " if scene.bends else ""
    words = (
        f"A regular grid of {step:g} mm in the moving image, carried onto the fixed one by the transform "
        f"({what}seen within each plane)."
    )
    legend = ((css(paint.MOVING), f"{step:g} mm in the moving image"),)
    return Layer("grid", "Deformation grid", words, legend, _each(scene, draw))


def _jacobian(scene: Scene) -> Layer:
    linear = scene.linear.determinant
    octaves = [np.log2(np.clip(v.jacobian / linear, 1 / 64, 64)) for v in scene.views]
    seen = np.concatenate([np.abs(o[v.inside]) for o, v in zip(octaves, scene.views)])
    factor = _above(2 ** float(np.percentile(seen, 99)) if seen.size else 1.0, (1.1, 1.25, 1.5, 2, 3, 5, 10))

    def draw(view: View, octave: np.ndarray) -> np.ndarray:
        share = np.where(view.inside, octave / np.log2(factor), 0)
        colour = np.where((share > 0)[..., None], paint.MORE, paint.LESS)
        picture = paint.over(paint.dimmed(view.fixed, 0.5), colour, 0.9 * np.abs(share) ** 0.8)
        return paint.over(picture, paint.FOLD, view.folded)

    folded = scene.registration.measures.get("field", {}).get("folding_any_percent")
    words = (
        "How the transform changes volumes (Jacobian determinant), its linear part (which scales them by "
        f"{linear:.3g}) left out. Full colour at {factor:g} times and at 1/{factor:g}. "
    )
    if folded is not None:
        words += "No voxel folds." if folded == 0 else f"{folded:.2g} % of the voxels fold (magenta)."
    legend = (
        (css(paint.LESS), "moving image smaller"),
        (css(paint.MORE), "moving image larger"),
        (css(paint.FOLD), "folded"),
    )
    return Layer("jacobian", "Jacobian", words, legend, tuple(map(draw, scene.views, octaves)))


def _displacement(scene: Scene) -> Layer:
    seen = np.concatenate([v.displacement[v.inside] for v in scene.views])
    top = _above(float(np.percentile(seen, 99)) if seen.size else 1.0)

    def draw(view: View) -> np.ndarray:
        colour = paint.heat(view.displacement / top) * (0.45 + 0.55 * view.fixed[..., None])
        return np.where(view.inside[..., None], colour, paint.dimmed(view.fixed, 0.5))

    words = f"How far the transform moves each point beside its linear part, 0 to {top:g} mm."
    stops = tuple((css(paint.heat(np.array(t))), f"{t * top:g} mm") for t in (0.0, 0.5, 1.0))
    return Layer("displacement", "Displacement", words, stops, _each(scene, draw))


def _uncertainty(scene: Scene, uncertainty: Image) -> Layer:
    length = uncertainty.data.square().sum(0).sqrt()
    maps = [Cut(uncertainty.grid, v.plane.points).linear(length) for v in scene.views]
    seen = np.concatenate([m[v.inside] for m, v in zip(maps, scene.views)])
    top = _above(float(np.percentile(seen, 99)) if seen.size else 1.0)

    def draw(view: View, found: np.ndarray) -> np.ndarray:
        colour = paint.heat(found / top) * (0.45 + 0.55 * view.fixed[..., None])
        return np.where(view.inside[..., None], colour, paint.dimmed(view.fixed, 0.5))

    words = (
        "How uncertain it is where each point goes: one standard deviation, by images and prior together. It is large "
        "where the images show nothing. The linear part is taken for known."
    )
    stops = tuple((css(paint.heat(np.array(t))), f"{t * top:g} mm") for t in (0.0, 0.5, 1.0))
    return Layer("uncertainty", "Uncertainty", words, stops, tuple(map(draw, scene.views, maps)))


def _outlines(scene: Scene) -> Layer:
    def draw(view: View) -> np.ndarray:
        picture = paint.grey(view.fixed)
        for labels, colour in ((view.fixed_labels, paint.FIXED), (view.labels, paint.MOVING)):
            if labels is not None:
                picture = paint.over(picture, colour, 0.85 * paint.outlines(labels))
        return picture

    legend = []
    if scene.registration.pair.fixed_labels is not None:
        legend.append((css(paint.FIXED), "fixed labels"))
    if scene.registration.labels is not None:
        legend.append((css(paint.MOVING), "moving labels, carried over"))
    words = "Outlines of the labels on the fixed image."
    return Layer("labels", "Labels", words, tuple(legend), _each(scene, draw))


def _landmarks(scene: Scene, here: np.ndarray, there: np.ndarray) -> Layer:
    from coincide.report.landmarks import draw_landmarks

    words = (
        "Each landmark of the fixed image (ring) and its partner from the moving image, carried over (dot), "
        "with the residual between them"
    )
    words += "; the paler, the further from the plane." if scene.views[0].plane.normal is not None else "."
    legend = ((css(paint.FIXED), "fixed landmark"), (css(paint.MOVING), "moving landmark, carried over"))
    return Layer(
        "landmarks", "Landmarks", words, legend, _each(scene, lambda v: draw_landmarks(v, here, there))
    )


def _matches(scene: Scene) -> Layer:
    from coincide.report.matches import REJECTED, draw_matches

    matches = scene.registration.matches
    assert matches is not None
    beside = "below" if scene.views[0].plane.normal is not None else "on the right"
    words = (
        f"{len(matches):,} points of the fixed image and their partners in the moving one ({beside}, as it came). The "
        f"{int(matches.inlier.sum()):,} pairs that agree bear the result; where very many, some of them are drawn"
    )
    words += "; the paler, the further from the plane." if beside == "below" else "."
    legend = ((css(paint.MOVING), "agree with the result"), (css(REJECTED), "do not"))
    return Layer("matches", "Matches", words, legend, draw_matches(scene, matches))


def _above(
    value: float, steps=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 40, 50)
) -> float:
    """The first of `steps` that is not below `value`, or the last."""
    return float(next((s for s in steps if s >= value), steps[-1]))


def _nice(value: float) -> float:
    """The number of 1, 2 or 5 times a power of ten that is nearest to `value`."""
    scale = 10 ** np.floor(np.log10(max(value, 1e-6)))
    return float(min((1, 2, 5, 10), key=lambda n: abs(np.log(n * scale / value))) * scale)
