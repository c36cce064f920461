"""The picture of docs/series.md: a made-up film of a hand as it is and as it is laid, and its motion beside the truth.

python -m benchmarks.series_picture docs/pictures/series.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from coincide.data.synthesis.series import Films, SyntheticSeries
from coincide.grid import Grid
from coincide.image import Image
from coincide.measures.motion import motion
from coincide.methods.series import Sequence, Series, aligned, follow
from coincide.report.series import film
from coincide.transforms.linear import Affine

SIDE, SEED, SHOWN = 192, 4, (0, 9, 18, 27, 35)


def main(path: Path) -> None:
    """Draw it."""
    films = Films(
        shape=SIDE,
        spacing=(1.3, 1.3),
        frames=36,
        anatomies=("hand",),
        rotation=30.0,
        missing=0.15,
        framed=0.0,
    )
    item = SyntheticSeries(films)[SEED]
    grid = Grid.from_spacing((SIDE,) * 2, 1.3, np.full(2, -(SIDE - 1) / 2 * 1.3))
    series = Series(tuple(Image(frame, grid) for frame in item["frames"]), name="made-up hand")
    first = int(series.new[0])
    scale = np.diag([SIDE * 1.3 / 2] * 2 + [1.0])
    worlds = [scale @ m.double().numpy() @ np.linalg.inv(scale) for m in item["matrices"]]
    truth = [Affine(world @ np.linalg.inv(worlds[first])) for world in worlds]
    figure = Figure(figsize=(11, 7.2), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.5, 1))  # type: ignore[reportGeneralTypeIssues] - two
    reference, solution = follow(series, Sequence("rigid"))
    pictures = film(series, reference, aligned(series, solution))
    axes = top.subplots(2, len(SHOWN))
    for column, n in enumerate(SHOWN):
        wide = (pictures[n].shape[1] - 6) // 2
        for row, part in enumerate((pictures[n][:, :wide], pictures[n][:, -wide:])):
            axes[row, column].imshow(part)
            axes[row, column].set_axis_off()
        axes[0, column].set_title(f"frame {n}{' (missing)' if not series.seen[n] else ''}", fontsize=9)
    _courses(bottom, series, solution, truth, grid)
    figure.savefig(path)


def _courses(figure, series: Series, solution, truth: list[Affine], grid: Grid) -> None:
    """Shift and rotation: of single frames, of the sequence, and the truth."""
    alone = follow(series, Sequence("rigid", direction="causal", finish="none"))[1]
    courses = {
        "network alone, causal": (
            motion(alone.transforms, grid),
            {"marker": ".", "linestyle": "", "color": "0.55"},
        ),
        "sequence": (motion(solution.transforms, grid), {"color": "C0"}),
        "truth": (motion(truth, grid), {"color": "C1", "linestyle": "--"}),
    }
    for axis, (key, label) in zip(
        figure.subplots(1, 2), (("rotation_deg", "rotation, °"), ("x_mm", "shift along x, mm"))
    ):
        for n in np.flatnonzero(~series.seen):
            axis.axvspan(n - 0.5, n + 0.5, color="0.9")
        for name, (course, look) in courses.items():
            axis.plot(course[key], label=name, **look)
        axis.set_xlabel("frame (grey: missing)")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    axis.legend(fontsize="small")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
