"""What each ingredient of a recipe is worth: it is left out, the network trained anew, and both judged alike.

python -m benchmarks.ablation recipes/pyramid.toml --out runs/ablation --steps 300 --seeds 3
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from coincide.networks import unpack
from coincide.training.feed import KEPT_BACK
from coincide.training.loop import train
from coincide.training.parse import filled, read_tables
from coincide.training.recipe import Recipe
from coincide.training.search import changed

WITHOUT: dict[str, dict[str, Any]] = {
    "nothing": {},
    "contrasts of each image": {"task.data.alike": 1.0},
    "artefacts": {"task.data.artefacts.rate": 0.0},
    "bending": {"task.data.bend.amount": 0.0},
    "both orders of the images": {"options.symmetric": False},
    "average of weights": {"average": 0.0},
    "warm-up": {"schedule.warm_up": 0},
    "16 bits": {"precision": "float32"},
}
"""What is left out, and the keys of the recipe that leave it out."""


@dataclass(frozen=True)
class Row:
    """Scores of one ingredient left out, a seed each, on the pairs kept back of the whole recipe; lower is better."""

    without: str
    scores: tuple[float, ...]


class Mean(nn.Module):
    """Several pyramids as one, whose velocities are the mean of theirs."""

    def __init__(self, networks: list[Any]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.dim, self.spacing, self.multiple = (
            getattr(networks[0], key) for key in ("dim", "spacing", "multiple")
        )

    def forward(self, *given: Tensor) -> list[Tensor]:
        answers = [network(*given) for network in self.networks]
        return [torch.stack(level).mean(0) for level in zip(*answers)]


def ablation(tables: dict[str, Any], folder: Path, seeds: int) -> list[Row]:
    """Train every variant with every seed (one that stopped goes on), and judge them all alike."""
    whole = filled(Recipe, tables, "the recipe")
    task, rows = whole.learned(), []
    for name, changes in WITHOUT.items():
        networks = []
        for seed in range(seeds):
            recipe = filled(Recipe, changed(tables, {**changes, "seed": seed}), name)
            run = folder / f"{name.replace(' ', '_')}-{seed}"
            train(recipe, run, resume=True)
            networks.append(unpack((run / "last.safetensors").read_bytes(), str(run))[0])
        scores = (task.score(network, KEPT_BACK, whole.kept_back)["score"] for network in networks)
        rows.append(Row(name, tuple(scores)))
        if name == "nothing" and whole.network == "pyramid" and seeds > 1:
            together = task.score(Mean(networks), KEPT_BACK, whole.kept_back)["score"]
            rows.append(Row("nothing, and all seeds together", (together,)))
    return rows


def table(rows: list[Row]) -> str:
    """Rows as Markdown: mean, standard deviation over the seeds, and how much worse than with everything."""
    lines = ["| left out | score | ± | worse by |", "|---|---|---|---|"]
    whole = float(np.mean(rows[0].scores))
    for row in rows:
        spread = f"{np.std(row.scores, ddof=1):.3f}" if len(row.scores) > 1 else ""
        lines.append(
            f"| {row.without} | {np.mean(row.scores):.3f} | {spread} | {np.mean(row.scores) - whole:+.3f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the command line, train, and write `ablation.json` and `ablation.md`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, help="of every run, instead of the recipe's")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    tables = read_tables(given.recipe)
    if given.steps:
        tables |= {"steps": given.steps, "validate": given.steps}
    given.out.mkdir(parents=True, exist_ok=True)
    rows = ablation(tables, given.out, given.seeds)
    (given.out / "ablation.json").write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    (given.out / "ablation.md").write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
