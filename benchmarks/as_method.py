"""Other people's tools as coincide `Method`s, so that they take a `Pair` and answer with a `Solution`."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.geometry import read_image
from benchmarks.peers.base import AbstractTool, Job
from coincide.errors import DimensionError
from coincide.io import write_image
from coincide.methods.base import AbstractMethod, Context, Solution
from coincide.pair import Pair
from coincide.transforms.displacement import Displacement


@dataclass(frozen=True)
class ToolMethod(AbstractMethod):
    """A tool behind the interface of our own methods, through files in a folder that is removed afterwards.

    Args:
        tool: what registers.
        multimodal: whether the images are of different modalities, which some tools must be told.
    """

    tool: AbstractTool
    multimodal: bool = False

    def solve(self, pair: Pair, context: Context = Context()) -> Solution:  # noqa: ARG002, B008 - frozen
        """Find the transform (fixed-world mm → moving-world mm) with the tool, as a dense displacement.

        Raises:
            DimensionError: the tool does not do images of this dimension.
        """
        if pair.dim not in self.tool.dims:
            raise DimensionError(f"{self.tool.version()} does not register {pair.dim}-D images.")
        self.tool.load()
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            job = Job(out / "fixed.nii.gz", out / "moving.nii.gz", pair.dim, self.multimodal)
            write_image(pair.fixed, job.fixed)
            write_image(pair.moving, job.moving)
            begun = time.perf_counter()
            self.tool.run(job, out)
            seconds = time.perf_counter() - begun
            vectors = self.tool.displacement(job, out, read_image(job.fixed)[1])
        tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(vectors, -1, 0), np.float32))
        return Solution(Displacement(tensor, pair.fixed.grid), seconds={"tool": seconds})
