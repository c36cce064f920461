"""The runs that the verdict is judged on: the cases of ../shared/data, at a coarser spacing."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from itertools import permutations

import numpy as np
import torch

from benchmarks.cases import DEFAULT_CASES
from benchmarks.verdict_images import SPACING, slice_of
from benchmarks.verdict_runs import (
    AFFINE,
    FAST,
    RIGID,
    Runs,
    flip,
    foreground_points,
    from_header,
    half,
    searched,
    start,
)
from benchmarks.verdict_truth import ants_rigid
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import as_image, read_points
from coincide.pair import Pair
from coincide.points import Points
from coincide.preprocess.shrink import shrink
from coincide.similarity import MSE, NCC
from coincide.transforms.linear import about, rotation_matrix

DATA = DEFAULT_CASES.parent
BRAINS = ("1000", "1001", "1006", "1007", "1036", "1128", "1003")
HANDS = ("3167", "3177", "3229", "3231", "5245")
LIVERS = (("19", "cyc_1_6"), ("19", "cyc_1_9"), ("26", "cyc_1_6"), ("26", "cyc_4_7"))
KNOWN = {
    "stroke-t2": ("mm_stroke_t1_fixed", "mm_stroke_t1_t2"),
    "stroke-flair": ("mm_stroke_t1_fixed", "mm_stroke_t1_flair"),
    "pet": ("mm_spm_t1_pet_fixed", "mm_spm_t1_pet"),
    "ct": ("mm_t1_ct_fixed", "mm_t1_ct"),
    "met-t2": ("mm_met_t1_t2_fixed", "mm_met_t1_t2"),
}
NATIVE = ("t1", "t1c", "t2", "fla")


@cache
def image(path: str, spacing: float = SPACING) -> Image:
    """An image of the cases at about `spacing` mm."""
    return shrink(as_image(DATA / f"{path}.nii.gz"), spacing)


@cache
def labels(path: str, every: int = 1) -> Image:
    """A label map; every third voxel along each axis of a fixed one is enough to score on."""
    whole = as_image(DATA / f"{path}.nii.gz", kind="label")
    data = np.ascontiguousarray(whole.numpy()[0][(slice(None, None, every),) * whole.dim]).astype(np.int32)
    affine = whole.grid.affine.copy()
    affine[:-1, :-1] *= every
    return Image(torch.from_numpy(data)[None], Grid(data.shape, affine), "label")


def points(path: str) -> Points:
    return read_points(DATA / f"{path}.csv")


def turned(pair: Pair, seed: int, angle: float = 15.0, shift: float = 15.0) -> Pair:
    """The moving side's headers, labels and points moved by a random rigid motion."""
    rng, grid = np.random.default_rng(seed), pair.moving.grid
    angles = rng.uniform(-angle, angle, 3 if pair.dim == 3 else 1)
    motion = about(rotation_matrix(angles), rng.uniform(-shift, shift, pair.dim), grid.centre)

    def carried(one):
        if one is None:
            return None
        return replace(one, grid=Grid(one.grid.shape, motion.matrix @ one.grid.affine))

    there = None if pair.moving_points is None else pair.moving_points.mapped(motion)
    return replace(
        pair, moving=carried(pair.moving), moving_labels=carried(pair.moving_labels), moving_points=there
    )


def brain(a: str, b: str) -> Pair:
    folder = {n: "brain_rescan" if n[:4] in ("1003", "1023") else "brain" for n in (a, b)}
    fixed, moving = (image(f"{folder[n]}/{n}_t1") for n in (a, b))
    return from_header(
        Pair(fixed, moving, labels(f"{folder[a]}/{a}_labels", 3), labels(f"{folder[b]}/{b}_labels"))
    )


def hand(a: str, b: str) -> Pair:
    fixed, moving = (image(f"hand_xray/{n}", 1.5) for n in (a, b))
    return Pair(fixed, moving, None, None, points(f"hand_xray/{a}_points"), points(f"hand_xray/{b}_points"))


def liver(person: str, cycle: str, backward: bool = False) -> Pair:
    names = [f"liver/{person}_exh", f"liver/{person}_{cycle}"][:: -1 if backward else 1]
    (fixed, p), (moving, q) = ((image(n, 4.5), points(f"{n}_points")) for n in names)
    return from_header(Pair(fixed, moving, None, None, p, q))


def lung(a: str, b: str) -> Pair:
    fixed, moving = (image(f"lung_mr/{n}_h1", 6.0) for n in (a, b))
    return from_header(Pair(fixed, moving, labels(f"lung_mr/{a}_lobes"), labels(f"lung_mr/{b}_lobes")))


def known(name: str) -> Pair:
    fixed, moving = KNOWN[name]
    pair = Pair(
        image(f"multimodal/{fixed}"),
        image(f"multimodal/{moving}_moving"),
        None,
        None,
        points(f"multimodal/{moving}_fixed_points"),
        points(f"multimodal/{moving}_moving_points"),
    )
    return from_header(pair)


def native(a: str, b: str, seed: int) -> Pair:
    """Two scans of one session of one patient, the second's header moved.

    The patient moved between the scans, by 10 to 25 mm: the truth is what ANTs finds at full resolution, which
    agrees with our own rigid registration within 1 mm on all twelve pairs.
    """
    names = f"tumour/fg6692_{a}", f"tumour/fg6692_{b}"
    fixed, moving = (image(n) for n in names)
    marks = Points(foreground_points(fixed, 200, seed))
    there = marks.mapped(ants_rigid(*(DATA / f"{n}.nii.gz" for n in names)))
    return turned(from_header(Pair(fixed, moving, None, None, marks, there)), seed)


def met(b: str, seed: int) -> Pair:
    fixed, moving = image("tumour/met00110_t1n"), image(f"tumour/met00110_{b}")
    marks = Points(foreground_points(fixed, 200, seed))
    return turned(from_header(Pair(fixed, moving, None, None, marks, marks)), seed)


def others(a: Image, b: Image) -> Pair:
    """Two images that do not belong together, laid on one another by their fields of view."""
    affine = b.grid.affine.copy()
    affine[:-1, -1] += a.grid.centre - b.grid.centre
    return from_header(Pair(a, Image(b.data, Grid(b.grid.shape, affine), name=b.name)))


def volume(name: str) -> Image:
    """One image by a short name."""
    kind, _, which = name.partition("/")
    if kind == "brain":
        return image(f"brain/{which}_t1")
    if kind == "lung":
        return image(f"lung_mr/{which}_h1", 6.0)
    if kind == "liver":
        return image(f"liver/{which}_exh", 4.5)
    return image(f"multimodal/{which}" if kind == "mm" else f"tumour/{which}")


# fixed and moving image that do not belong together
ORGANS = (
    ("brain/1000", "lung/0004"),
    ("lung/0006", "brain/1001"),
    ("brain/1006", "liver/19"),
    ("liver/26", "brain/1007"),
    ("liver/19", "lung/0004"),
    ("lung/0006", "liver/26"),
    ("tumour/fg6692_t2", "liver/19"),
    ("liver/26", "tumour/fg6692_fla"),
    ("lung/0004", "tumour/fg6692_t1"),
    ("mm/mm_t1_ct_moving", "lung/0006"),
    ("mm/mm_stroke_t1_fixed", "lung/0004"),
    ("liver/19", "mm/mm_spm_t1_pet_moving"),
)
STRANGERS = (
    ("tumour/fg6692_t1", "tumour/met00110_t2f"),
    ("tumour/met00110_t1n", "tumour/fg6692_t2"),
    ("brain/1000", "tumour/fg6692_fla"),
    ("mm/mm_stroke_t1_fixed", "tumour/met00110_t2f"),
    ("tumour/fg6692_t1c", "brain/1036"),
    ("brain/1006", "mm/mm_stroke_t1_t2_moving"),
    ("mm/mm_met_t1_t2_fixed", "mm/mm_stroke_t1_t2_moving"),
    ("brain/1128", "mm/mm_t1_ct_moving"),
    ("tumour/fg6692_t2", "mm/mm_stroke_t1_fixed"),
    ("mm/mm_spm_t1_pet_fixed", "tumour/met00110_t2f"),
)
SLICES = ("brain/1000", "liver/19", "lung/0004", "tumour/fg6692_t2", "brain/1036")


def runs() -> Runs:
    """All of them."""
    found = Runs()
    for part in (_brains, _rescans, _hands, _trunks, _known, _native, _strangers):
        part(found)
    return found


def _brains(runs: Runs) -> None:
    for n, (a, b) in enumerate(permutations(BRAINS, 2)):
        name, pair = f"brain-{a}-{b}", partial(brain, a, b)
        if n % 3 != 1:
            runs.add("good", "brain", name, pair)
        if n % 3 == 0:
            runs.add("flipped", "brain", f"{name}-flip", pair, flip, failed=True)
            runs.add("wrong subject", "brain rigid", f"{name}-rigid", pair, failed=True)
        if n % 3 == 2:
            runs.add("wrong start", "brain", f"{name}-start", pair, start(n))
        if n % 6 == 1:
            runs.add("good", "brain affine", f"{name}-affine", pair)
        if n % 4 == 1:
            runs.add(
                "half field of view", "brain", f"{name}-half", pair, half(n % 3, n % 8 == 1), failed=True
            )


def _rescans(runs: Runs) -> None:
    for n, (a, b) in enumerate(
        (("1003", "1023"), ("1023", "1003"), ("1003", "1023_hard"), ("1023_hard", "1003"))
    ):
        name, pair = f"rescan-{a}-{b}", partial(brain, a, b)
        runs.add("good", "rescan rigid", name, pair, searched)
        runs.add("flipped", "rescan rigid", f"{name}-flip", pair, flip, searched, failed=True)
        runs.add("wrong start", "rescan rigid", f"{name}-start", pair, start(n))
        if "hard" in name:
            continue
        runs.add("good", "rescan", f"{name}-deformable", pair)
        runs.add("good", "rescan affine", f"{name}-affine", pair)
        for seed in range(3):
            runs.add("good", "rescan rigid", f"{name}-turned{seed}", pair, partial(turned, seed=seed + 5 * n))
        runs.add("half field of view", "rescan rigid", f"{name}-half", pair, half(n + 1, n == 0), failed=True)


def _hands(runs: Runs) -> None:
    for n, (a, b) in enumerate(permutations(HANDS, 2)):
        name, pair = f"hand-{a}-{b}", partial(hand, a, b)
        runs.add("good", "hand", name, pair)
        if n % 2:
            runs.add("good", "hand turned", f"{name}-turned", pair, partial(turned, seed=n, angle=180))
            runs.add("flipped", "hand", f"{name}-flip", pair, flip, failed=True)
        else:
            runs.add("wrong start", "hand", f"{name}-start", pair, start(n))
        if n % 4 == 1:
            cut = half(n // 4 % 2, n % 8 == 1)
            runs.add("half field of view", "hand", f"{name}-half", pair, cut, failed=True)
        if n % 3 == 2:
            runs.add("wrong subject", "hand rigid", f"{name}-rigid", pair, failed=True)
    for n, (name, source) in enumerate(zip(HANDS, SLICES)):
        there = partial(_slice_on_hand, name, source, n)
        runs.add("wrong organ", "2-D", f"hand-{name}-slice", there, failed=True)
        there = partial(_slice_on_hand, name, source, n, True)
        runs.add("wrong organ", "2-D", f"slice-{name}-hand", there, failed=True)


def _slice_on_hand(name: str, source: str, n: int, swapped: bool = False) -> Pair:
    own = image(f"hand_xray/{name}", 1.5)
    plane = slice_of(volume(source), (n + 1 if swapped else n) % 3, 0.5)
    return searched(others(plane, own) if swapped else others(own, plane))


def _trunks(runs: Runs) -> None:
    for n, (person, cycle) in enumerate(LIVERS):
        name, pair = f"liver-{person}-{cycle}", partial(liver, person, cycle)
        runs.add("good", "liver", name, pair)
        runs.add("good", "liver", f"{name}-backward", partial(pair, backward=True))
        runs.add("flipped", "liver", f"{name}-flip", pair, flip, failed=True)
        runs.add("wrong start", "liver", f"{name}-start", pair, start(n))
        if n % 2:
            runs.add("half field of view", "liver", f"{name}-half", pair, half(n // 2, True), failed=True)
    for n, (a, b) in enumerate((("0004", "0006"), ("0006", "0004"))):
        name, pair = f"lung-{a}-{b}", partial(lung, a, b)
        runs.add("good", "lung", name, pair)
        runs.add("good", "lung affine", f"{name}-affine", pair)
        runs.add("flipped", "lung", f"{name}-flip", pair, flip, failed=True)
        runs.add("wrong start", "lung", f"{name}-start", pair, start(n))
        runs.add("half field of view", "lung", f"{name}-half", pair, half(n, n == 0), failed=True)


def _known(runs: Runs) -> None:
    for n, name in enumerate(KNOWN):
        pair = partial(known, name)
        runs.add("good", "multimodal", name, pair)
        runs.add("good", "multimodal", f"{name}-turned", pair, partial(turned, seed=n))
        runs.add("good", "multimodal affine", f"{name}-affine", pair)
        runs.add("flipped", "multimodal", f"{name}-flip", pair, flip, failed=True)
        runs.add("wrong start", "multimodal", f"{name}-start", pair, start(n))
        runs.add("wrong start", "multimodal affine", f"{name}-affine-start", pair, start(n + 10))
        runs.add(
            "half field of view", "multimodal", f"{name}-half", pair, half(n % 3, n % 2 == 0), failed=True
        )
        for measure, motion in ((MSE(), (n, 15, 15)), (NCC(), (n + 9, 30, 30))):
            seed, angle, shift = motion
            change = partial(turned, seed=seed, angle=angle, shift=shift)
            method = replace(FAST, similarity=measure, linear=replace(AFFINE, similarity=measure))
            title = f"{name}-{measure.name}"
            runs.add("wrong similarity", "multimodal", title, pair, change, method=method)


def _native(runs: Runs) -> None:
    for n, (a, b) in enumerate(permutations(NATIVE, 2)):
        name, pair = f"native-{a}-{b}", partial(native, a, b)
        runs.add("good", "native rigid", name, partial(pair, n))
        if n % 3 == 0:
            runs.add("good", "native", f"{name}-deformable", partial(pair, n + 20))
        if n % 2:
            runs.add("flipped", "native rigid", f"{name}-flip", partial(pair, n + 30), flip, failed=True)
            runs.add("wrong start", "native rigid", f"{name}-start", partial(pair, n + 40), start(n))
        if n % 4 == 0:
            cut, kind = half(n // 4 % 2, n == 0), "half field of view"
            runs.add(kind, "native rigid", f"{name}-half", partial(pair, n + 50), cut, failed=True)
    for n, b in enumerate(("t1c", "t2f")):
        runs.add("good", "metastases rigid", f"met-{b}", partial(met, b, n))
        runs.add("good", "metastases", f"met-{b}-deformable", partial(met, b, n + 5))
        runs.add("flipped", "metastases rigid", f"met-{b}-flip", partial(met, b, n + 10), flip, failed=True)


def _strangers(runs: Runs) -> None:
    def laid(a: str, b: str) -> Pair:
        return others(volume(a), volume(b))

    for n, (a, b) in enumerate(ORGANS):
        method = (FAST, RIGID, AFFINE)[n % 3]
        runs.add("wrong organ", "3-D", f"{a}-on-{b}", partial(laid, a, b), method=method, failed=True)
        if n % 3 == 0:
            name = f"{b}-on-{a}-searched"
            runs.add("wrong organ", "3-D", name, partial(laid, b, a), searched, failed=True)
    for a, b in STRANGERS:
        runs.add("wrong subject", "rigid multimodal", f"{a}-on-{b}", partial(laid, a, b), failed=True)
