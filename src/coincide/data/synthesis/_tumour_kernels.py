"""Compiled: how far it is through tissue; what it is for is said in `tumour.py`."""

from __future__ import annotations

import numpy as np

from coincide.ops._parallel import kernel


@kernel
def travel(slow, spacing, out):
    """Lower `out` (3-D, 0 where the way begins, large elsewhere) to the length of the shortest way over neighbours.

    Between two voxels the way is as long as they are apart (mm) times the mean of what `slow` says of both. Sweeps go
    to and fro until nothing changes.
    """
    ni, nj, nk = out.shape
    for sweep in range(100):
        changed, back = False, sweep % 2 == 1
        for p in range(ni * nj * nk):
            q = ni * nj * nk - 1 - p if back else p
            i, j, k = q // (nj * nk), (q // nk) % nj, q % nk
            best = out[i, j, k]
            for di in range(max(i - 1, 0), min(i + 2, ni)):
                for dj in range(max(j - 1, 0), min(j + 2, nj)):
                    for dk in range(max(k - 1, 0), min(k + 2, nk)):
                        if out[di, dj, dk] < best:
                            x, y, z = (di - i) * spacing[0], (dj - j) * spacing[1], (dk - k) * spacing[2]
                            pace = np.float32(0.5) * (slow[i, j, k] + slow[di, dj, dk])
                            best = min(best, out[di, dj, dk] + pace * np.sqrt(x * x + y * y + z * z))
            if best < out[i, j, k] - np.float32(1e-3):
                out[i, j, k] = best
                changed = True
        if not changed:
            break
