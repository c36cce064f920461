"""The benchmark of linear methods from bad headers: what it asks for, what it keeps, and what it counts."""

from pathlib import Path

import pytest
from benchmarks.cases import Case
from benchmarks.reach import interval, pooled, run, spec, table
from benchmarks.records import append, read_rows

from coincide.io import write_image
from phantom import grid_around, known, known_pair


def row(start, degrees, error, method="linear"):
    names = {"case": "head", "method": method, "seed": 1, "start": start}
    return names | {"degrees": degrees, "error": error, "seconds": 0.5 * start}


def test_a_method_gets_its_model_beside_its_options():
    assert spec("linear", "rigid") == "linear:model=rigid"
    assert spec("regressor:turns=3", "affine") == "regressor:turns=3,model=affine"


def test_found_is_counted_from_small_and_from_large_turns():
    found = [row(0, 10, 0.5), row(1, 44, 2.1), row(2, 45, 2.0), row(3, 80, 30.0), row(4, 5, 0.1, "keypoints")]
    first, second = table(found).splitlines()[2:]
    assert first == "| head | `linear` | 1 of 2 | 1 of 2 | 2.0 | 30.0 | 0.75 |"
    assert second == "| head | `keypoints` | 1 of 1 | 0 of 0 | 0.1 | 0.1 | 2.00 |"


def test_what_nobody_would_be_told_of_is_counted_over_all_cases():
    found = [
        row(0, 10, 0.5) | {"verdict": "converged"},
        row(1, 44, 0.6) | {"verdict": "suspicious"},
        row(2, 20, 0.6) | {"verdict": None},
        row(3, 50, 9.0) | {"verdict": "converged"},
        row(4, 60, 9.0) | {"verdict": "failed"},
        row(5, 60, 1.0) | {"verdict": "converged"},
    ]
    small, large, both = pooled(found).splitlines()[2:]
    assert small.startswith("| `linear` | 0–45° | 3 of 3 | 29.2–100.0 % | 0 of 3 | 1 of 2 |")
    assert large.startswith("| `linear` | 45–90° | 1 of 3 |")
    assert large.endswith("| 1 of 3 | 0 of 1 |")
    assert both.endswith("| 1 of 6 | 1 of 3 |")


def test_the_interval_of_a_share_is_the_exact_one():
    # tables of Clopper and Pearson: 0 of 10 leaves 30.8 %, 10 of 10 at least 69.2 %
    assert interval(0, 10) == pytest.approx((0, 0.3085), abs=1e-4)
    assert interval(10, 10) == pytest.approx((0.6915, 1), abs=1e-4)
    assert interval(0, 0) == (0, 1)


def test_a_run_goes_on_where_it_was(tmp_path):
    pair, out = known_pair(grid_around(3, 9.0), grid_around(3, 9.0), known(3)), tmp_path / "rows.jsonl"
    for image in (pair.fixed, pair.moving):
        write_image(image, tmp_path / f"{image.name}.nii.gz")
    case = Case("head", "brain", 3, False, tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz")
    append(out, row(0, 10, 0.5))
    run(["linear"], [case], 2, 1, 1, out)
    kept, made = read_rows(out)
    assert kept == row(0, 10, 0.5), "it is not made again"
    assert (made["start"], made["seconds"] > 0) == (1, True)
    assert made["verdict"] in ("converged", "suspicious", "failed"), "one of one is judged"
    assert made["error"] == pytest.approx(0, abs=2.0)
    run(["linear"], [Case("head", "brain", 3, False, Path("none"), Path("none"))], 2, 1, 1, out)
    assert len(read_rows(out)) == 2
