"""The runs that the verdict's thresholds are fitted on; see `verdict_images` for the images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import permutations

import numpy as np
import torch

from benchmarks.verdict_images import (
    DONORS,
    donor,
    donor_labels,
    fine_slice,
    hand,
    head_brain,
    picture,
    recoloured,
    spoiled,
    template,
    torso,
)
from benchmarks.verdict_runs import (
    AFFINE,
    FAST,
    RIGID,
    Runs,
    flip,
    from_header,
    half,
    moved,
    searched,
    start,
    warp_of,
)
from coincide.grid import Grid
from coincide.image import Image
from coincide.pair import Pair
from coincide.points import Points
from coincide.similarity import MSE, NCC
from coincide.transforms.linear import about, rotation_matrix

SPACE = ("nlin09a", "fsl", "nlin09c")
SUBJECTS = ("head", "brain", "fsl", "nlin09c", "donor0", "donor3")


def anatomy(name: str) -> Image:
    if name.startswith("donor"):
        return donor(DONORS[int(name[5:])], "t1")
    if name.startswith("torso"):
        return torso(int(name[5:]))
    return head_brain() if name == "brain" else template(name)


def same(name: str, seed: int, *, rigid: bool = False, colour: bool = False, bend: float = 6.0) -> Pair:
    """One anatomy twice, the second time moved by a known map, with other noise, and in another contrast if asked."""
    base = anatomy(name)
    map_ = warp_of(base.grid, seed, scale=0.0 if rigid else 0.06, bend=0.0 if rigid else bend)
    seen = base
    if colour:
        seen = torso(int(name[5:]), seed + 1) if name.startswith("torso") else recoloured(base, seed)
    return known(base, seen, map_, seed)


def templates(a: str, b: str, seed: int, colour: bool = False) -> Pair:
    """Two templates of one space, the second moved by a known map."""
    seen = recoloured(template(b), seed) if colour else template(b)
    return known(template(a), seen, warp_of(template(a).grid, seed), seed)


def known(base: Image, seen: Image, map_, seed: int) -> Pair:
    """`base`, and what stands where it stands, `seen` through a known map (moving world → fixed world, mm)."""
    moving, fixed_points, moving_points = moved(seen, base, map_, seed)
    noisy = spoiled(base, seed + 500), spoiled(moving, seed)
    return from_header(Pair(*noisy, None, None, fixed_points, moving_points))


def donors(a: int, b: int, contrast: str = "t1") -> Pair:
    """Two donors, scored by their labels, at every third voxel along each axis."""
    labels = [donor_labels(DONORS[n]) for n in (a, b)]
    truth = labels[0].numpy()[0][::3, ::3, ::3]
    affine = labels[0].grid.affine.copy()
    affine[:-1, :-1] *= 3
    coarse = Image(torch.from_numpy(truth.copy())[None], Grid(truth.shape, affine), "label")
    fixed, moving = donor(DONORS[a], "t1"), donor(DONORS[b], contrast)
    return from_header(Pair(spoiled(fixed, a), spoiled(moving, b + 50), coarse, labels[1]))


def hands(a: int, b: int, turn: float = 0.0) -> Pair:
    """Two drawn hands; the second's header turned by `turn` degrees."""
    (fixed, ends), (moving, other) = hand(a), hand(b)
    motion = about(rotation_matrix(turn), (12.0, -8.0), moving.grid.centre)
    turned = Image(moving.data, Grid(moving.grid.shape, motion.matrix @ moving.grid.affine), name=moving.name)
    return Pair(spoiled(fixed, a), spoiled(turned, b), None, None, Points(ends), Points(motion(other)))


def flat(name: str) -> Image:
    """A 2-D image."""
    if name.startswith("hand"):
        return hand(int(name[4:]))[0]
    kind, _, axis = name.partition("/")
    return fine_slice(kind, int(axis), 0.5) if axis else picture(name)


def flat_same(name: str, seed: int, *, rigid: bool = False, colour: bool = False) -> Pair:
    """A 2-D image twice, the second time moved by a known map."""
    base = flat(name)
    map_ = warp_of(
        base.grid, seed, 15, 10, scale=0.0 if rigid else 0.06, bend=0.0 if rigid else 5.0, smooth=25.0
    )
    return known(base, recoloured(base, seed) if colour else base, map_, seed)


def others(a: Image, b: Image, seed: int) -> Pair:
    """Two unlike anatomies, laid on one another by their fields of view."""
    affine = b.grid.affine.copy()
    affine[:-1, -1] += a.grid.centre - b.grid.centre
    placed = Image(b.data, Grid(b.grid.shape, affine), name=b.name)
    return from_header(Pair(spoiled(a, seed), spoiled(placed, seed + 1)))


FLAT = ("retina", "coins", "camera", "astronaut", "head/0", "head/2", "nlin09c/1", "nlin09c/2")


def runs() -> Runs:
    """All of them."""
    found = Runs()
    for part in (_donors, _templates, _heads, _torsos, _hands, _flat):
        part(found)
    return found


def _donors(runs: Runs) -> None:
    for n, (a, b) in enumerate(permutations(range(6), 2)):
        name, build = f"donors-{a}{b}", partial(donors, a, b)
        if n % 2 == 0:
            runs.add("good", "brain", name, build)
            runs.add("flipped", "brain", f"{name}-flip", build, flip, failed=True)
        if n % 4 == 1:
            contrast = "t2" if n % 8 == 1 else "pet"
            other = partial(donors, a, b, contrast)
            runs.add("good", "brain multimodal", f"{name}-{contrast}", other)
            runs.add("flipped", "brain multimodal", f"{name}-{contrast}-flip", other, flip, failed=True)
        if n % 4 == 0:
            runs.add("wrong start", "brain", f"{name}-start", build, start(n))
            runs.add("wrong subject", "brain rigid", f"{name}-rigid", build, failed=True)
            runs.add(
                "half field of view", "brain", f"{name}-half", build, half(n % 3, n % 8 == 0), failed=True
            )
        if n % 5 == 3:
            across = partial(donors, a, b, "t2")
            runs.add("wrong subject", "brain rigid multimodal", f"{name}-t2-rigid", across, failed=True)
        if n % 6 == 1:
            runs.add("good", "brain affine", f"{name}-affine", build)


def _templates(runs: Runs) -> None:
    for n, (a, b) in enumerate(permutations(SPACE, 2)):
        name, pair = f"{a}-{b}", partial(templates, a, b)
        for seed in (n, n + 20):
            runs.add("good", "brain", f"{name}-{seed}", partial(pair, seed))
        runs.add("good", "brain affine", f"{name}-affine", partial(pair, n + 40))
        runs.add("good", "brain multimodal", f"{name}-colour", partial(pair, n + 60, True))
        runs.add("wrong start", "brain", f"{name}-start", partial(pair, n + 80), start(n))
        coloured = partial(pair, n + 90, True)
        runs.add("wrong start", "brain multimodal", f"{name}-colour-start", coloured, start(n + 7))
        for measure, changes, seed in ((MSE(), (), n + 120), (NCC(), (start(n),), n + 130)):
            method = replace(FAST, similarity=measure, linear=replace(AFFINE, similarity=measure))
            coloured = partial(pair, seed, True)
            title = f"{name}-{measure.name}"
            runs.add("wrong similarity", "brain multimodal", title, coloured, *changes, method=method)
        # nlin09a is its own mirror image: nobody could tell
        if "nlin09a" not in (a, b):
            runs.add("flipped", "brain", f"{name}-flip", partial(pair, n + 140), flip, failed=True)


def _heads(runs: Runs) -> None:
    for n, name in enumerate(SUBJECTS):
        at = partial(same, name)
        stiff = partial(at, rigid=True)
        across = partial(stiff, colour=True)
        runs.add("good", "head", f"{name}-same", partial(at, n))
        runs.add("good", "head searched", f"{name}-searched", partial(at, n + 10), searched)
        runs.add("good", "head rigid", f"{name}-rigid", partial(stiff, n + 20))
        runs.add("good", "head rigid multimodal", f"{name}-rigid-colour", partial(across, n + 30))
        coloured = partial(at, n + 40, colour=True)
        runs.add("good", "head multimodal", f"{name}-colour", coloured)
        runs.add("flipped", "head", f"{name}-flip", partial(at, n + 50), flip, failed=True)
        twice = partial(across, n + 60)
        runs.add("flipped", "head rigid multimodal", f"{name}-colour-flip", twice, flip, failed=True)
        runs.add("wrong start", "head rigid", f"{name}-rigid-start", partial(stiff, n + 70), start(n))
        twice = partial(across, n + 80)
        runs.add("wrong start", "head rigid multimodal", f"{name}-rigid-colour-start", twice, start(n + 5))
        cut, kind = half(n % 3, n % 2 == 0), "half field of view"
        runs.add(kind, "head", f"{name}-half", partial(at, n + 90), cut, failed=True)
        cut, coloured = half((n + 1) % 3, n % 2 == 1), partial(at, n + 95, colour=True)
        runs.add(kind, "head multimodal", f"{name}-colour-half", coloured, cut, failed=True)
        _strangers(runs, n, name)


def _strangers(runs: Runs, n: int, name: str) -> None:
    other = SUBJECTS[(n + 2) % 6]

    def unlike(fixed, moving):
        return lambda: others(fixed(), moving(), n)

    own, trunk = partial(anatomy, name), partial(torso, n)
    stranger = unlike(own, partial(anatomy, other))
    runs.add("wrong subject", "head rigid", f"{name}-{other}-rigid", stranger, failed=True)
    runs.add("wrong organ", "head", f"{name}-torso", unlike(own, trunk), failed=True)
    method = AFFINE if n % 2 else FAST
    runs.add("wrong organ", "head", f"torso-{name}", unlike(trunk, own), method=method, failed=True)
    pair = unlike(own, partial(torso, n, 4))
    title = f"{name}-torso-rigid"
    runs.add("wrong organ", "head multimodal", title, pair, searched, method=RIGID, failed=True)


def _torsos(runs: Runs) -> None:
    for n in range(6):
        name = f"torso{n}"
        at = partial(same, name)
        runs.add("good", "torso", name, partial(at, n, bend=14))
        runs.add("good", "torso multimodal", f"{name}-colour", partial(at, n, colour=True, bend=10))
        runs.add("flipped", "torso", f"{name}-flip", partial(at, n, bend=14), flip, failed=True)
        runs.add("wrong start", "torso", f"{name}-start", partial(at, n + 10), start(n + 3))
        stranger = partial(lambda n: others(torso(n), torso(n + 9), n), n)
        runs.add("wrong subject", "torso rigid", f"{name}-rigid", stranger, failed=True)
        if n < 3:
            cut = half(n, n % 2 == 0)
            runs.add("half field of view", "torso", f"{name}-half", partial(at, n + 30), cut, failed=True)


def _hands(runs: Runs) -> None:
    for n in range(12):
        turn = float(np.random.default_rng(n).uniform(-180, 180)) if n % 2 else 0.0
        runs.add("good", "hand", f"hand{n}", partial(hands, n, n + 20, turn))
        if n % 2:
            turned = partial(hands, n, n + 40, turn)
            runs.add("flipped", "hand", f"hand{n}-flip", turned, flip, failed=True)
            runs.add("wrong subject", "hand rigid", f"hand{n}-rigid", partial(hands, n, n + 50), failed=True)
        else:
            runs.add("wrong start", "hand", f"hand{n}-start", partial(hands, n, n + 60), start(n))
        if n % 4 == 0:
            cut, pair = half(n % 2, n % 8 == 0), partial(hands, n, n + 70)
            runs.add("half field of view", "hand", f"hand{n}-half", pair, cut, failed=True)


def _flat(runs: Runs) -> None:
    for n, name in enumerate(FLAT):
        at = partial(flat_same, name)
        runs.add("good", "2-D", name, partial(at, n))
        runs.add("good", "2-D rigid", f"{name}-rigid", partial(at, n + 10, rigid=True))
        runs.add("good", "2-D multimodal", f"{name}-colour", partial(at, n + 20, colour=True))
        runs.add("flipped", "2-D", f"{name}-flip", partial(at, n + 30), flip, failed=True)
        runs.add("wrong start", "2-D", f"{name}-start", partial(at, n + 40), start(n))
        other = (*FLAT, "hand3", "hand4")[(n + 3) % 10]
        unlike = partial(lambda a, b, n: others(flat(a), flat(b), n), name, other, n)
        runs.add("wrong organ", "2-D", f"{name}-{other}", unlike, searched, failed=True)
        if n % 2:
            cut = half(n // 2 % 2, n % 4 == 1)
            runs.add("half field of view", "2-D", f"{name}-half", partial(at, n + 50), cut, failed=True)
