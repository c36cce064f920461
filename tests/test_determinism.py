"""The same images give the same transform, bit for bit: for one and two threads, in every process."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from coincide.grid import Grid
from coincide.methods import parse
from coincide.ops import _parallel
from coincide.ops.lncc import windows
from coincide.pair import Pair
from coincide.points import Points
from coincide.preprocess.foreground import bounding_box, moments
from coincide.registration import register
from coincide.transforms import rotation_matrix
from coincide.transforms.displacement import to_world
from coincide.transforms.resample import positions
from phantom import grid_around, known, known_pair, other_contrast

SPECS = [
    "linear:model=rigid",
    "auto:transform=affine,similarity=lncc",
    "auto:transform=deformable",
    "deformable:similarity=lncc",
    "deformable:similarity=mind",
    "deformable:similarity=nmi",
    "deformable:similarity=ncc",
    "deformable:similarity=mse",
    "deformable:similarity=ncc,use_landmarks=true",
]


def pair_of(dim: int, masked: bool = False) -> Pair:
    """A small pair of different contrast, on grids that are turned against each other, with masks if asked for."""
    turn = rotation_matrix((4, 6, -9)) if dim == 3 else rotation_matrix(12)
    spacing = 2.5 if dim == 2 else 5.5
    pair = known_pair(
        grid_around(dim, spacing), grid_around(dim, 1.05 * spacing, turn), known(dim), other_contrast
    )
    if not masked:
        return pair
    masks = [torch.ones(i.grid.shape, dtype=torch.bool) for i in (pair.fixed, pair.moving)]
    masks[0][: pair.fixed.grid.shape[0] // 5] = False
    masks[1][:, : pair.moving.grid.shape[1] // 6] = False
    return Pair(pair.fixed.with_mask(masks[0]), pair.moving.with_mask(masks[1]))


def fingerprint(spec: str, dim: int, threads: int) -> str:
    """What a run came to: SHA-256 of the bytes of its transform and its warped image."""
    pair = pair_of(dim, masked="nmi" in spec)
    if "use_landmarks" in spec:
        points = np.random.default_rng(0).uniform(-40, 40, (300, dim))
        pair = replace(pair, fixed_points=Points(points), moving_points=Points(known(dim)(points)))
    result = register(pair, parse(spec), threads=threads)
    found = hashlib.sha256(result.warped.numpy().tobytes())
    for part in [*result.transform.parts(), *result.inverse.parts()]:
        found.update(np.asarray(getattr(part, "matrix", getattr(part, "vectors", None))).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize("dim", [2, 3])
@pytest.mark.parametrize("spec", SPECS)
def test_the_number_of_threads_changes_no_bit(spec, dim):
    assert len({fingerprint(spec, dim, threads) for threads in (1, 2, 3)}) == 1


def in_a_process(threads: int, **environment) -> dict:
    """The fingerprints of a few runs in a fresh process."""
    environment = {**os.environ, **environment, "PYTHONPATH": str(Path(__file__).parent)}
    code = (
        "import json, test_determinism as t; "
        f"print(json.dumps({{f'{{s}} {{d}}': t.fingerprint(s, d, {threads}) for s in t.SPECS[2:6] for d in (2, 3)}}))"
    )
    run = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_fresh_processes_change_no_bit():
    # BLAS and OpenMP decide about their threads when the process starts
    one = in_a_process(1, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")
    assert in_a_process(2) == one
    assert {f"{s} {d}": fingerprint(s, d, 2) for s in SPECS[2:6] for d in (2, 3)} == one


@pytest.fixture
def calls(monkeypatch):
    """Every call of a kernel that a run makes, one for each kernel and shape: kernel, planes, arguments before."""
    found = {}
    original = _parallel.run

    def spy(compiled, planes, *arguments):
        shapes = tuple(a.shape if isinstance(a, np.ndarray) else type(a) for a in arguments)
        if (compiled.__name__, shapes) not in found:
            found[compiled.__name__, shapes] = compiled, planes, [as_it_is(a) for a in arguments]
        original(compiled, planes, *arguments)

    for name, module in list(sys.modules.items()):
        if (
            name.startswith("coincide.")
            and getattr(module, "run", None) is original
            and module is not _parallel
        ):
            monkeypatch.setattr(module, "run", spy)
    return found


def as_it_is(argument):
    """A copy with the same layout and flags, which kernels are compiled for."""
    if not isinstance(argument, np.ndarray):
        return argument
    copied = argument.copy(order="K")
    copied.setflags(write=argument.flags.writeable)
    return copied


def replayed(compiled, planes, arguments, trial: int) -> list[bytes]:
    """What a kernel makes of its arrays when they lie elsewhere, close together, and the planes are cut otherwise."""
    rng = np.random.default_rng(trial)
    room = np.empty(sum(a.nbytes + 512 for a in arguments if isinstance(a, np.ndarray)), np.uint8)
    position, placed = 0, list(arguments)
    for n in rng.permutation(len(arguments)):
        array = arguments[n]
        if not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
            placed[n] = as_it_is(array)
            continue
        position += int(rng.choice([0, 0, 1, 2, 3, 5, 9, 17])) * array.itemsize
        position += -(room.ctypes.data + position) % array.itemsize
        placed[n] = room[position : position + array.nbytes].view(array.dtype).reshape(array.shape)
        placed[n][...] = array
        placed[n].setflags(write=array.flags.writeable)
        position += array.nbytes
    cuts = sorted(
        {0, planes, *rng.integers(0, planes + 1, rng.integers(0, 5)).tolist()} if trial else {0, planes}
    )
    for low, high in pairwise(cuts):
        compiled(low, high, *placed)
    return [a.tobytes() for a in placed if isinstance(a, np.ndarray)]


@pytest.mark.parametrize("dim", [2, 3])
def test_neither_place_in_memory_nor_slabs_change_a_bit(dim, calls):
    pair = pair_of(dim, masked=True)
    for spec in SPECS:
        parse(spec).solve(pair)
    register(pair, "linear")
    assert len({name for name, _ in calls}) > 12
    for (name, shapes), (compiled, planes, arguments) in calls.items():
        expected = replayed(compiled, planes, arguments, 0)
        for trial in range(1, 5):
            assert replayed(compiled, planes, arguments, trial) == expected, (name, shapes)


@pytest.fixture
def torch_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_what_is_left_to_torch_and_numpy_does_not_change_a_bit(torch_threads):
    rng = np.random.default_rng(0)
    grid = grid_around(3, 2.0)
    weights = torch.from_numpy(rng.random(grid.shape, np.float32))
    vectors = torch.from_numpy(rng.standard_normal((3, *grid.shape)).astype(np.float32))
    pair = pair_of(3)
    transform = parse("deformable:trials=1").solve(pair).transform
    turned = Grid(grid.shape, known(3).matrix @ grid.affine)
    found = set()
    for threads in (1, 2, 3):
        torch_threads(threads)
        mass = moments(pair.fixed.with_data(weights[None], grid=grid), weights)
        w = windows(weights[None], weights, 2, 1e-4)
        parts = [
            *(np.asarray(a).tobytes() for a in (*bounding_box(weights), mass.centre, mass.axes, w.total)),
            to_world(vectors, turned).numpy().tobytes(),
            positions(transform, pair.fixed.grid, 0, 20).numpy().tobytes(),
        ]
        found.add(hashlib.sha256(b"".join(parts)).hexdigest())
    assert len(found) == 1
