"""Landmarks in CSV."""

import csv

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coincide.errors import MissingFileError, PointsError
from coincide.io import read_points, write_points
from coincide.points import Points

coordinate = st.floats(-1e6, 1e6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dim=st.sampled_from([2, 3]),
    rows=st.lists(st.tuples(coordinate, coordinate, coordinate), min_size=1, max_size=8),
    names=st.lists(
        st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs")), min_size=1),
        min_size=8,
        max_size=8,
    ),
)
def test_points_come_back_bit_for_bit(tmp_path, dim, rows, names):
    points = Points(np.array(rows)[:, :dim], tuple(names[: len(rows)]))
    write_points(points, tmp_path / "p.csv")
    again = read_points(tmp_path / "p.csv")
    assert np.array_equal(again.world, points.world)
    assert again.names == points.names


def test_the_file_is_what_others_read(tmp_path):
    write_points(Points([[1.5, -2, 3], [0.1, 0.2, 0.3]], ("a", "b, c")), tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows == [
        {"name": "a", "x": "1.5", "y": "-2.0", "z": "3.0"},
        {"name": "b, c", "x": "0.1", "y": "0.2", "z": "0.3"},
    ]


@pytest.mark.parametrize(
    ("text", "world", "names"),
    [
        ("name,x,y\na,1,2\nb,3,4\n", [[1, 2], [3, 4]], ("a", "b")),
        ("\ufeffName, X, Y, Z\r\na, 1, 2, 3\r\n\r\n", [[1, 2, 3]], ("a",)),
        ("x,y,z\n1,2,3e1\n", [[1, 2, 30]], ("1",)),
        ("z,t,label,y,x\n3,0,9,2,1\n", [[1, 2, 3]], ("1",)),
    ],
)
def test_headers_of_several_kinds(tmp_path, text, world, names):
    (tmp_path / "p.csv").write_text(text, encoding="utf-8", newline="")
    points = read_points(tmp_path / "p.csv")
    assert np.array_equal(points.world, world)
    assert points.names == names


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "header"),
        ("1,2,3\n4,5,6\n", "header"),
        ("name,x\na,1\n", "header"),
        ("name,x,z\na,1,2\n", "header"),
        ("name,x,y\n", "no landmark"),
        ("name,x,y\na,1,2\nb,1,\n", "line 3"),
        ("name,x,y\na,1\n", "line 2"),
        ("x,y,name\n1,2,a\n3,4\n", "line 3: has no name"),
        ("name,x,y\na,1,nan\n", "line 2"),
        ('name,x,y\na,1,"2,5"\n', "'2,5'"),
    ],
)
def test_broken_files_are_named_with_the_line(tmp_path, text, match):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(PointsError, match=match) as caught:
        read_points(tmp_path / "p.csv")
    assert "p.csv" in str(caught.value)


def test_missing_and_binary(tmp_path):
    with pytest.raises(MissingFileError):
        read_points(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_bytes(b"\x1f\x8b\xff\xfe\x00")
    with pytest.raises(PointsError, match="no text"):
        read_points(tmp_path / "p.csv")
