"""The report: whole, self-contained, and showing the anatomy the right way round."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest
import torch
from scipy import ndimage

from coincide import report
from coincide.errors import OptionError, OutputError
from coincide.grid import Grid
from coincide.image import Image
from coincide.measures import jacobian_maps, measure
from coincide.methods.base import Step
from coincide.pair import Pair
from coincide.points import Points
from coincide.registration import Registration, Verdict
from coincide.report import chart, paint, tables
from coincide.report.landmarks import draw_landmarks
from coincide.report.layers import closer, comparison
from coincide.report.page import render
from coincide.report.planes import Cut, planes
from coincide.report.scene import around_planes, look
from coincide.transforms.displacement import Displacement
from coincide.transforms.linear import identity, rigid, rotation_matrix, translation
from coincide.transforms.resample import resample
from conftest import pictured

GOOD = Verdict("converged", "The images match.", (), {"gain": 0.4}, {"gain": 0.2})


def wave(grid, amplitude):
    """A smooth displacement, mm."""
    noise = np.random.default_rng(2).standard_normal((grid.dim, *grid.shape))
    field = np.stack([ndimage.gaussian_filter(c, 4) for c in noise])
    return Displacement(torch.from_numpy((amplitude * field / np.abs(field).max()).astype(np.float32)), grid)


def registration(dim, amplitude=3.0, aids=True, **changes):
    """A made-up result with everything a report can show."""
    shape, spacing = ((40, 44, 18), (1.6, 1.5, 3.5)) if dim == 3 else ((60, 72), (1.1, 1.0))
    origin = -(np.array(shape) - 1) * np.array(spacing) / 2
    grid = Grid.from_spacing(shape, spacing, origin)
    centre = np.zeros(dim)
    linear = rigid((4, -3, 8) if dim == 3 else 8, np.array([3, -2, 1])[:dim], centre)
    transform = linear @ wave(grid, amplitude) if amplitude else linear
    fixed = pictured(grid, name="fixed <1>.nii.gz").with_mask(torch.ones(shape, dtype=torch.bool))
    moving = pictured(Grid.from_spacing(shape, spacing, origin + 2), linear, name="moving & co")
    extra = {}
    if aids:
        labels = [Image((i.data[0] > 40).to(torch.uint16) * 3, i.grid, "label") for i in (fixed, moving)]
        points = Points(np.random.default_rng(0).uniform(-15, 15, (7, dim)))
        extra = {"fixed_labels": labels[0], "moving_labels": labels[1]}
        extra |= {"fixed_points": points, "moving_points": Points(linear(points.world))}
    pair, inverse = Pair(fixed, moving, **extra), transform.inverse()
    warped = resample(moving, transform, grid)
    found = Registration(
        pair=pair,
        transform=transform,
        inverse=inverse,
        warped=warped,
        labels=resample(extra["moving_labels"], transform, grid) if aids else None,
        points=extra["fixed_points"].mapped(transform) if aids else None,
        measures=measure(pair, transform, inverse, warped),
        verdict=GOOD,
        trace=tuple(Step("linear", 1 + i // 5, i % 5 + 1, -0.1 * i, 0.1 * i) for i in range(10)),
        decisions=("NCC, because the images are of one kind.",),
        provenance={"seed": 0, "settings": {"similarity": {"name": "ncc"}}, "argv": ["a", "b"]},
    )
    return replace(found, **changes)


class Page(HTMLParser):
    """What a page asks a browser for, and whether its tags close."""

    void = frozenset(("meta", "img", "input", "br", "line", "polyline", "link"))

    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.ids, self.outside, self.words = [], [], set(), [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag not in self.void:
            self.open.append(tag)
        if tag == "img":
            self.images.append(attrs)
        if "id" in attrs:
            assert attrs["id"] not in self.ids
            self.ids.add(attrs["id"])
        self.outside += [attrs[k] for k in ("src", "href") if k in attrs and not attrs[k].startswith("data:")]

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module", params=[2, 3])
def result(request):
    return registration(request.param)


# --- the page --------------------------------------------------------------------------------------------


def test_report_is_whole_and_needs_nothing_else(result, tmp_path):
    report.write_report(result, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    page = Page(text)
    assert page.open == []
    assert page.outside == []
    assert not re.search(r"https?:|@import|url\(", text)
    assert len(text) < 3_000_000
    words = " ".join(page.words)
    for expected in ("Converged", "The images match.", "NCC, because", "moving & co → fixed <1>.nii.gz"):
        assert expected in words
    assert {f"v-{name}" for name in NAMES} <= page.ids


NAMES = [
    *("edges-before", "edges-after", "fixed", "before", "after", "checkerboard", "difference-before"),
    *("difference-after", "grid", "jacobian", "displacement", "labels", "landmarks"),
]


def test_all_pictures_have_one_size_and_words_for_those_who_cannot_see_them(result):
    page = Page(render(result))
    assert len(page.images) == len(NAMES)
    sizes = set()
    for image in page.images:
        picture = PIL.Image.open(io.BytesIO(base64.b64decode(image["src"].split(",", 1)[1])))
        assert (str(picture.width), str(picture.height)) == (image["width"], image["height"])
        sizes.add(picture.size)
        assert len(image["alt"]) > 30
        assert np.asarray(picture).std() > 5
    assert len(sizes) == 1


def test_report_of_the_least_there_can_be():
    bare = registration(3, amplitude=0, aids=False, trace=(), decisions=(), provenance={}, measures={})
    page = Page(render(bare, title="Bare"))
    assert "Bare" in " ".join(page.words)
    assert not {"v-labels", "v-landmarks", "v-displacement", "v-jacobian"} & page.ids
    assert {"v-grid", "v-after"} <= page.ids


@pytest.mark.parametrize("level", ["suspicious", "failed"])
def test_a_bad_verdict_stands_at_the_top_with_its_reasons(result, level):
    verdict = Verdict(level, "Do not <use> it.", ("It folds.", "It is mirrored."), {"x": 1.0}, {})
    text = render(replace(result, verdict=verdict))
    top = text[text.index("<main") : text.index("<img")]
    for expected in (level.capitalize(), "Do not &lt;use&gt; it.", "It folds.", "It is mirrored."):
        assert expected in top


def test_report_shows_numbers_that_could_not_be_had_as_dashes():
    broken = registration(2, aids=False)
    broken.measures["before"] = dict.fromkeys(broken.measures["before"])
    assert "–" in "".join(Page(render(broken)).words)
    assert "None" not in "".join(Page(render(broken)).words)


def test_a_missing_folder_is_told(result, tmp_path):
    with pytest.raises(OutputError, match="no folder"):
        report.write_report(result, tmp_path / "missing" / "report.html")


def test_same_registration_same_page(result):
    assert render(result) == render(result)


# --- pictures --------------------------------------------------------------------------------------------


def test_pictures_on_their_own(result):
    overview = PIL.Image.open(io.BytesIO(report.overview_figure(result)))
    one = PIL.Image.open(io.BytesIO(report.figure(result, "grid")))
    assert overview.format == one.format == "PNG"
    along = 0 if result.pair.dim == 2 else 1
    assert overview.size[along] > 1.9 * one.size[along]
    with pytest.raises(OptionError, match="checkerboard"):
        report.figure(result, "checkerbord")


ORIENTATIONS = {
    "LPS": np.diag([-1.0, -1, 1]),
    "ASR": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "IRP": np.array([[0.0, 1, 0], [0, 0, -1], [-1, 0, 0]]),
    "oblique": rotation_matrix((14, -11, 23)),
}


def marked(direction, spacing, reach=48.0):
    """A ball, with a bright bead at the patient's right, front and top."""
    shape = tuple(int(2 * reach / s) for s in spacing)
    grid = Grid.from_spacing(shape, spacing, direction=direction)
    grid = Grid.from_spacing(shape, spacing, -grid.centre, direction)
    world = grid.points()
    values = 50.0 * (np.linalg.norm(world, axis=-1) < 30)
    for bead in ((15, 0, 0), (0, 20, 0), (0, 0, 10)):
        values += 100.0 * (np.linalg.norm(world - bead, axis=-1) < 4)
    return Image(values.astype(np.float32), grid)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_planes_hang_the_radiological_way_however_voxels_lie(name):
    image = marked(ORIENTATIONS[name], (1.0, 1.5, 2.5) if name != "oblique" else (1.2, 1.0, 2.0))
    beads = {
        "axial": ((15, 0, 0), (0, 20, 0)),
        "coronal": ((15, 0, 0), (0, 0, 10)),
        "sagittal": ((0, 20, 0), (0, 0, 10)),
    }
    towards = {"axial": ((-1, 0), (0, -1)), "coronal": ((-1, 0), (0, -1)), "sagittal": ((-1, 0), (0, -1))}
    for plane in planes(image):
        seen = Cut(image.grid, plane.points).linear(image.data[0])
        parts, number = ndimage.label(seen > 100)
        found = ndimage.center_of_mass(seen > 100, parts, range(1, number + 1))
        middle = np.array(ndimage.center_of_mass(seen > 20))
        assert len(found) == 2
        expected = [
            middle[::-1] + np.array(way) * np.linalg.norm(bead) / plane.pixel
            for bead, way in zip(beads[plane.name], towards[plane.name])
        ]
        for spot in expected:
            assert min(np.linalg.norm(np.array(f)[::-1] - spot) for f in found) * plane.pixel < 2.0
        # a ball is round, whatever the voxels are
        height, width = (np.ptp(np.nonzero(seen > 25)[axis]) for axis in (0, 1))
        assert height / width == pytest.approx(1, abs=0.08)
        assert plane.letters == (("A", "P") if plane.name == "sagittal" else ("R", "L")) + (
            ("A", "P") if plane.name == "axial" else ("S", "I")
        )
        np.testing.assert_allclose(plane.pixels(plane.points[7, 3]), (3, 7), atol=1e-9)


def test_a_flat_image_is_shown_x_right_y_down():
    values = np.zeros((40, 60), np.float32)
    values[5, 50] = 1
    image = Image(values, Grid.from_spacing((40, 60), (1.0, 2.0)))
    (plane,) = planes(image)
    row, column = np.unravel_index(Cut(image.grid, plane.points).linear(image.data[0]).argmax(), plane.shape)
    height, width = plane.shape
    assert column / width == pytest.approx(5 / 39, abs=0.02)
    assert row / height == pytest.approx(50 / 59, abs=0.02)
    assert height / width == pytest.approx(118 / 39, rel=0.02)
    assert plane.letters == ()


def test_the_after_picture_is_the_warped_image(result):
    scene = look(result)
    for view in scene.views:
        warped = Cut(result.warped.grid, view.plane.points).linear(result.warped.data[0])
        inner = ndimage.binary_erosion(view.inside & view.covered_after, iterations=8)
        assert np.corrcoef(view.after[inner], warped[inner])[0, 1] > 0.97
        assert view.displacement[view.inside].max() > 0.5


def test_the_grid_of_a_linear_transform_is_that_transform():
    scene = look(registration(3, amplitude=0, aids=False))
    assert not scene.bends
    np.testing.assert_array_equal(scene.linear.matrix, identity(3).matrix)
    names = [layer.name for layer in closer(scene)]
    assert "grid" in names
    assert "displacement" not in names


def test_the_linear_part_is_taken_out(result):
    scene = look(result)
    grid = result.pair.fixed.grid
    points = grid.points().reshape(-1, grid.dim)
    rest = scene.linear.inverse()(result.transform(points)) - points
    assert scene.bends
    assert np.abs(rest).mean() < np.abs(result.transform(points) - points).mean() / 2
    assert np.abs(rest.mean(0)).max() < 0.5


def test_folds_are_marked():
    folded = registration(3, amplitude=25.0, aids=False)
    assert folded.measures["field"]["folding_any_percent"] > 0.5
    scene = look(folded)
    assert sum(v.folded.sum() for v in scene.views) > 100
    layer = {item.name: item for item in closer(scene)}["jacobian"]
    assert "magenta" in layer.caption
    for view, picture in zip(scene.views, layer.pictures):
        np.testing.assert_allclose(picture[view.folded], np.broadcast_to(paint.FOLD, (view.folded.sum(), 3)))


@pytest.mark.parametrize("turn", [(0, 0, 0), (25, 35, 20)], ids=["upright", "oblique"])
def test_the_jacobian_on_a_plane_is_that_of_the_whole_volume(turn):
    upright = Grid.from_spacing((40, 44, 30), (1.6, 1.5, 2.5), (-32, -33, -37))
    grid = Grid(upright.shape, rigid(turn, (0, 0, 0), (0, 0, 0)).matrix @ upright.affine)
    maps = jacobian_maps(wave(upright, 25.0), grid)
    found = list(around_planes(wave(upright, 25.0), grid, cuts := planes(pictured(grid))))
    assert all(maps_near.central.numel() < grid.size / 2 for _, maps_near in found) == (turn == (0, 0, 0))
    for plane, (near, maps_near) in zip(cuts, found):
        here = Cut(grid, plane.points)
        expected = here.linear(maps.central)
        assert expected.std() > 0.1
        np.testing.assert_allclose(near.linear(maps_near.central), expected, atol=1e-5)
        assert np.array_equal(near.nearest(maps_near.least <= 0), here.nearest(maps.least <= 0))


def test_images_that_agree_leave_no_difference():
    grid = Grid.from_spacing((40, 40), 1.0)
    image = pictured(grid, noise=0)
    still = registration(2, aids=False, pair=Pair(image, image), transform=identity(2), inverse=identity(2))
    after = {item.name: item for item in closer(look(still))}["difference-after"].pictures[0]
    assert np.abs(after - paint.GROUND).max() < 0.12
    shifted = replace(still, transform=translation((6, 0)), inverse=translation((-6, 0)))
    after = {item.name: item for item in closer(look(shifted))}["difference-after"].pictures[0]
    assert np.abs(after - paint.GROUND).max() > 0.4


def test_edges_lie_on_edges():
    values = np.zeros((80, 90), np.float32)
    values[20:60, 30:70] = 1
    lines = paint.edges(values, 1.5)
    assert lines[40, 29:31].max() > 0.6
    assert lines[19:21, 50].max() > 0.6
    assert lines[40, 50] == lines[5, 5] == lines[40, 25] == 0
    titles = [layer.title for layer in comparison(look(registration(2, aids=False)))]
    assert titles == ["Before", "After"]


def test_landmarks_are_drawn_where_they_are():
    (view,) = look(registration(2, aids=False)).views
    here, there = view.plane.points[100, 120], view.plane.points[100, 180]
    picture = draw_landmarks(view, here[None], there[None])
    plain = paint.dimmed(view.fixed, 0.75)
    touched = np.argwhere(np.abs(picture - plain).max(-1) > 0.1)
    assert touched.min(0) == pytest.approx([94, 114], abs=1)
    assert touched.max(0) == pytest.approx([106, 183], abs=1)
    np.testing.assert_allclose(picture[100, 180], paint.MOVING, atol=0.02)
    np.testing.assert_allclose(picture[95, 120], paint.FIXED, atol=0.1)
    np.testing.assert_allclose(picture[100, 150], 1, atol=0.02)


def test_level_lines_are_as_far_apart_as_they_should_be():
    values = np.broadcast_to(np.arange(100.0) * 0.5, (20, 100))
    at = np.flatnonzero(paint.level_lines(values, 10.0, 1.5)[10] > 0.9)
    assert at.tolist() == [0, 20, 40, 60, 80]


def test_checkerboard_alternates():
    board = paint.checkerboard((60, 60), 10)
    assert board.mean() == pytest.approx(0.5, abs=0.02)
    assert board[30, 30] != board[40, 30] == board[30, 40]


# --- words and numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        *((None, "mm", "–"), (float("nan"), "", "–"), (0.0, "%", "0 %"), (1e-5, "%", "< 0.001 %")),
        *((0.12345, "", "0.123"), (1.2345, "mm", "1.23 mm"), (1.0456, "", "1.046"), (12.345, "", "12.3")),
        *((354818.3, "", "354,818"), (-0.5, "", "−0.500"), (3e8, "", "3.00e+08"), (123.4, "mm", "123 mm")),
    ],
)
def test_numbers_are_written_as_people_write_them(value, unit, text):
    assert tables.number(value, unit) == text


def test_rows_say_what_got_better(result):
    rows = {row.name: row for _, rows in tables.sections(result) for row in rows}
    assert rows["NCC"].better is True
    assert rows["MSE"].better is True
    assert rows["TRE, mean"].better is True
    assert rows["Covered"].better is None
    assert rows["Smallest Jacobian"].before == ""
    worse = {"before": {"ncc": 0.9, "mse": 1.0}, "after": {"ncc": 0.5, "mse": 2.0}}
    assert [row.better for row in tables.sections(replace(result, measures=worse))[0][1]] == [False, False]


def test_differences_of_images_of_two_kinds_are_not_judged(result):
    measures = {
        "before": {"ncc": 0.2, "nmi": 1.0, "ssim": 0.3},
        "after": {"ncc": -0.6, "nmi": 1.2, "ssim": 0.1},
    }
    rows = {row.name: row for row in tables.sections(replace(result, measures=measures))[0][1]}
    assert rows["NMI"].better is True
    assert rows["SSIM"].better is rows["NCC"].better is None
    (card,) = tables.cards(replace(result, measures=measures))
    assert (card.before, card.after) == ("1.000", "1.200")


def test_worst_landmarks_and_labels_come_first(result):
    residuals = [float(row["after"].replace("< ", "")) for row in tables.landmark_rows(result)]
    assert len(residuals) == 7
    assert residuals == sorted(residuals, reverse=True)
    assert [row["label"] for row in tables.label_rows(result)] == [3]


def test_charts_follow_stages_and_levels():
    steps = [Step("linear", 1, i, -float(i), 0.5 * i) for i in range(1, 4)]
    steps += [Step("deformable", level, i, -0.1 * i, 2 + level + 0.1 * i) for level in (1, 2) for i in (1, 2)]
    linear, deformable = chart.charts(tuple(steps))
    assert (linear.stage, linear.iterations, linear.first, linear.last) == ("linear", 3, -1.0, -3.0)
    assert linear.seconds == pytest.approx(1.5)
    assert deformable.seconds == pytest.approx(4.2 - 1.5)
    assert [name for _, name in deformable.levels] == ["1", "2"]
    assert len(deformable.borders) == 1
    x, y = np.array([p.split(",") for p in linear.lines[0].split()], float).T
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) > 0).all()  # a falling value goes down the page
    assert chart.charts(()) == ()


def test_each_level_has_a_scale_of_its_own_and_noise_stays_flat():
    values = [-1, -2, -100, -100.001]
    steps = tuple(Step("a", 1 + i // 2, i, v, 0.1) for i, v in enumerate(values))
    (drawn,) = chart.charts(steps)
    heights = [[float(p.split(",")[1]) for p in line.split()] for line in drawn.lines]
    assert heights[0][1] - heights[0][0] > 50
    assert heights[1][1] - heights[1][0] < 2


def test_the_heading_has_no_folders():
    (found,) = re.findall("<h1>(.*)</h1>", render(named("/data/a/fixed.nii.gz", "C:\\b\\moving.nii.gz")))
    assert found == "moving.nii.gz → fixed.nii.gz"


def named(fixed, moving):
    found = registration(2, aids=False)
    pair = replace(found.pair, fixed=replace(found.pair.fixed, name=fixed))
    return replace(found, pair=replace(pair, moving=replace(pair.moving, name=moving)))


@pytest.mark.parametrize(("seconds", "text"), [(0.31, "0.3 s"), (59.4, "59 s"), (119.8, "2 min 0 s")])
def test_time_is_told_as_people_tell_it(seconds, text):
    found = registration(2, aids=False, provenance={"seconds": {"solve": seconds}, "peak_memory_bytes": 2e9})
    cards = {card.name: card for card in tables.cards(found)}
    assert cards["Time"].after == text
    assert "2.0 GB" in cards["Time"].hint
