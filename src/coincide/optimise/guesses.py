"""Linear transforms through random samples of doubtful pairs of points."""

from __future__ import annotations

import numpy as np

from coincide.optimise.fit import Model, fewest


def guesses(source, target, model: Model, pools, stretch: float, rng: np.random.Generator) -> np.ndarray:
    """Transforms through random samples of as few pairs as settle them, `(up to one a pool, dim+1, dim+1)`.

    Transforms that reflect, or stretch by more than the factor `stretch`, are left out.

    Args:
        source: `(number, dim)` points, mm, the surest first.
        target: their partners.
        model: of the transforms.
        pools: for each sample, how many of the first pairs it is drawn from: the surest come first, as in Chum and
            Matas 2005, doi:10.1109/CVPR.2005.221.
        stretch: factor.
        rng: the randomness.
    """
    size = fewest(model, source.shape[1])
    pools = np.minimum(pools, len(source))[:, None]
    chosen = np.floor(rng.random((len(pools), size)) * pools).astype(int)
    apart = np.sort(chosen, axis=1)
    chosen = chosen[(np.diff(apart, axis=1) > 0).all(1)]
    x, y = source[chosen], target[chosen]
    matrices = _through_affine(x, y) if model == "affine" else _through(x, y, model)
    return matrices[plausible(matrices, stretch)]


def _through(x: np.ndarray, y: np.ndarray, model: Model) -> np.ndarray:
    """Many fits of `fit_linear` at once, without its checks: samples `(m, size, dim)`."""
    dim = x.shape[2]
    middle, goal = x.mean(1), y.mean(1)
    apart, wanted = x - middle[:, None], y - goal[:, None]
    matrices = np.tile(np.eye(dim + 1), (len(x), 1, 1))
    if model != "translation":
        u, lengths, vt = np.linalg.svd(np.einsum("mna,mnb->mab", wanted, apart))
        signs = np.ones_like(lengths)
        signs[:, -1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
        turn = np.einsum("mik,mk,mkj->mij", u, signs, vt)
        if model == "similarity":
            spread = np.maximum((apart**2).sum((1, 2)), 1e-12)
            turn = turn * ((signs * lengths).sum(1) / spread)[:, None, None]
        matrices[:, :dim, :dim] = turn
    matrices[:, :dim, dim] = goal - np.einsum("mij,mj->mi", matrices[:, :dim, :dim], middle)
    return matrices


def _through_affine(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The affine maps that take samples `(m, dim + 1, dim)` exactly to their partners."""
    m, size, dim = x.shape
    homogeneous = np.concatenate([x, np.ones((m, size, 1))], axis=2)
    scale = np.abs(x - x.mean(1, keepdims=True)).max((1, 2))
    settled = np.abs(np.linalg.det(homogeneous)) > 1e-3 * scale**dim
    matrices = np.zeros((int(settled.sum()), dim + 1, dim + 1))
    solved = np.linalg.solve(homogeneous[settled], y[settled])
    matrices[:, :dim] = np.swapaxes(solved, 1, 2)
    matrices[:, dim, dim] = 1
    return matrices


def plausible(matrices: np.ndarray, stretch: float) -> np.ndarray:
    """Which of `matrices` `(m, dim+1, dim+1)` neither reflect nor stretch any direction by more than `stretch`."""
    parts = matrices[:, :-1, :-1]
    lengths = np.linalg.svd(parts, compute_uv=False)
    within = (lengths[:, 0] < stretch) & (lengths[:, -1] > 1 / stretch)
    return within & (np.linalg.det(parts) > 0)
