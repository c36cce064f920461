"""The rating page: in a browser, over its own protocol, and what is told of the scores."""

import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from browser import browser, wait_for
from coincide.cli import main
from coincide.errors import InputError, MissingFileError, OptionError, OutputError, UnreadableFileError
from coincide.grid import Grid
from coincide.image import Image
from coincide.io import write_image
from coincide.viewer.rating.draw import Shown
from coincide.viewer.rating.server import serve
from coincide.viewer.rating.session import Session, opinions, read_scores
from phantom import grid_around, picture

NAMES = ("kowari", "numbat", "quokka", "dunnart", "bilby")


WIDTH = "(document.querySelector('.frame img') || {}).naturalWidth || 0"


@pytest.fixture
def images(tmp_path):
    paths = []
    for k, name in enumerate(NAMES):
        paths.append(tmp_path / f"{name}.nii.gz")
        write_image(picture(grid_around(2, 3.0), noise=0.02 * k), paths[-1])
    return tuple(paths)


@contextmanager
def served(session):
    server = serve(session)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_rating_in_a_browser_is_blind_by_keyboard_and_survives_a_restart(images, tmp_path):
    scores = tmp_path / "scores.json"
    with browser(tmp_path / "profile") as page:
        first = Session(images, scores, seed=3)
        with served(first) as url:
            page.open(url)
            page.look("document.getElementById('name').focus()")
            page.write("Ada")
            page.press("Enter")
            wait_for(lambda: page.look("scores.length") == 5)
            wait_for(
                lambda: page.look("(document.querySelector('.frame img') || {}).naturalWidth") or 0 > 100
            )
            seen = page.look("document.documentElement.outerHTML")
            assert not any(name in seen for name in NAMES), "the page names an image"
            for step, key in enumerate("52"):
                page.press(key)
                wait_for(lambda step=step: page.look("document.getElementById('progress').value") == step + 1)
            assert page.look("document.getElementById('where').textContent") == "Image 3 of 5"
            page.press("ArrowLeft")
            assert page.look("document.querySelector('[aria-pressed=true]').dataset.score") == "2"
            page.press("1")
            wait_for(lambda: page.look("scores[1]") == 1)
        order = first.order("Ada")
        assert read_scores(scores) == {"Ada": {str(images[order[0]]): 5, str(images[order[1]]): 1}}

        with served(Session(images, scores, seed=3)) as url:
            page.open(url)
            page.look("begin('Ada')")
            wait_for(lambda: page.look("scores.length") == 5)
            assert page.look("document.getElementById('where').textContent") == "Image 3 of 5"
            page.look("document.querySelector('[data-score=\"4\"]').click()")
            wait_for(lambda: page.look("document.getElementById('progress').value") == 3)
            for number in (4, 5):
                page.press("3")
                wait_for(
                    lambda number=number: page.look("document.getElementById('progress').value") == number
                )
            assert "all rated" in page.look("document.getElementById('where').textContent")
        page.press("2")
        wait_for(lambda: "was not kept" in page.look("document.getElementById('trouble').textContent"))
    assert sorted(read_scores(scores)["Ada"].values()) == [1, 3, 3, 4, 5]


def test_a_rater_can_look_closer(tmp_path):
    scan = tmp_path / "kowari.nii.gz"
    write_image(picture(grid_around(3, 6.0)), scan)
    with browser(tmp_path / "profile") as page, served(Session((scan,), tmp_path / "s.json")) as url:
        page.open(url)
        page.look("begin('Ada')")
        drawn = "planes.length === 3 && planes.every(p => p.picture.naturalWidth && !p.waiting && !p.stale)"
        wait_for(lambda: page.look(drawn))
        start = page.look("planes.map(p => p.picture.src)")

        def moved(doing):
            before = page.look("planes.map(p => p.picture.src + p.picture.style.transform)")
            doing()
            wait_for(lambda: page.look(drawn))
            after = page.look("planes.map(p => p.picture.src + p.picture.style.transform)")
            return [a != b for a, b in zip(before, after)]

        x, y = page.look(
            "(({x, y, width, height}) => [x + width / 2, y + height / 2])(planes[1].box.getBoundingClientRect())"
        )
        mouse = {"x": x, "y": y}

        def drag():
            page.ask(
                "Input.dispatchMouseEvent",
                type="mousePressed",
                button="left",
                buttons=1,
                clickCount=1,
                **mouse,
            )
            page.ask("Input.dispatchMouseEvent", type="mouseMoved", buttons=1, x=x - 120, y=y - 40)
            page.ask("Input.dispatchMouseEvent", type="mouseReleased", button="left", x=x - 120, y=y - 40)

        def pinch():
            for kind, apart in (("touchStart", 20), ("touchMove", 40), ("touchEnd", None)):
                points = (
                    []
                    if apart is None
                    else [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
                )
                page.ask("Input.dispatchTouchEvent", type=kind, touchPoints=points)

        wheel = {"type": "mouseWheel", "deltaX": 0, "deltaY": 100, **mouse}
        assert moved(lambda: page.ask("Input.dispatchMouseEvent", **wheel)) == [False, True, False]
        assert page.look("planes[1].at") < 0.5
        assert moved(lambda: page.press("ArrowUp")) == [False, True, False]
        assert page.look("planes[1].at") == pytest.approx(0.5)
        assert moved(drag) == [True] * 3
        assert page.look("view.high - view.low") < 1
        assert "window" in page.look("document.getElementById('window').textContent")
        assert moved(lambda: page.press("+")) == [True] * 3
        assert page.look("view.zoom") == 1.25
        assert moved(pinch) == [True] * 3
        assert page.look("view.zoom") > 2
        page.press("r")
        wait_for(lambda: page.look(drawn))
        assert page.look("planes.map(p => p.picture.src)") == start
        page.press("4")
        wait_for(lambda: page.look("scores[0]") == 4)
        wait_for(lambda: page.look(drawn))


def test_orders_are_the_raters_own_and_stay(images, tmp_path):
    session = Session(images, tmp_path / "s.json", seed=1)
    orders = {tuple(session.order(f"rater {k}")) for k in range(12)}
    assert len(orders) > 8
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    mine = [images[place] for place in session.order("Ada")]
    # whatever seed or order of files comes later, and though one is added
    again = Session(images[::-1], tmp_path / "s.json")
    assert [again.images[place] for place in again.order("Ada")] == mine
    assert again.tokens("Ada") == session.tokens("Ada")
    more = Session((*images, Path(__file__)), tmp_path / "s.json")
    assert [more.images[place] for place in more.order("Ada") if place < 5] == mine
    assert Session(images, tmp_path / "t.json", seed=2).order("Ada") != session.order("Ada")
    with pytest.raises(OptionError, match="drawn with the seed 1"):
        Session(images, tmp_path / "s.json", seed=2)


def test_sessions_that_share_a_file_lose_nothing(images, tmp_path):
    one, other = (Session(images, tmp_path / "s.json") for _ in range(2))

    def give(session, rater):
        for token in session.tokens(rater):
            session.rate(rater, token, 3)

    threads = [
        threading.Thread(target=give, args=(session, name))
        for session, name in ((one, "Ada"), (other, "Bo"), (one, "Cy"), (other, "Di"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {rater: len(given) for rater, given in read_scores(tmp_path / "s.json").items()} == {
        "Ada": 5, "Bo": 5, "Cy": 5, "Di": 5,
    }  # fmt: skip
    assert one.seen("Di") == [3] * 5
    assert [p.name for p in tmp_path.iterdir() if "json" in p.name] == ["s.json"]


def ask(url, body=None, **headers):
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_the_server_takes_what_it_should_and_nothing_else(images, tmp_path):
    session = Session(images, tmp_path / "s.json")
    images[session.order("Ada")[4]].write_bytes(b"broken")
    with served(session) as url:
        state = json.loads(ask(f"{url}/state?rater=Ada")[1])
        assert state["scores"] == [None] * 5
        tokens = state["images"]
        first = f"{url}/picture/{tokens[0]}"
        status, picture_ = ask(f"{first}/0?rater=Ada")
        assert (status, picture_[:4]) == (200, b"\x89PNG")
        assert ask(f"{first}/0?rater=Ada&low=0.2&high=0.5")[1] != picture_
        [plane] = json.loads(ask(f"{url}/planes/{tokens[0]}?rater=Ada")[1])
        assert plane["slices"] == 1
        for what in (f"{url}/planes/{tokens[4]}", f"{url}/picture/{tokens[4]}/0"):
            status, said = ask(f"{what}?rater=Ada")
            assert status == 500
            assert not any(name.encode() in said for name in NAMES)
        for missing in (f"{first}/1?rater=Ada", f"{first}/-1?rater=Ada", f"{first}/x?rater=Ada", f"{first}/0?rater=Bo",
                        f"{first}/0?rater=Ada&low=nan", f"{url}/picture/0?rater=Ada", f"{url}/nothing"):  # fmt: skip
            assert ask(missing)[0] == 404
        right = {"rater": "Ada", "image": tokens[1], "score": 4}
        assert ask(f"{url}/score", right)[0] == 200
        for wrong in (
            {},
            [],
            {"rater": ""},
            {"rater": "Bo"},
            {"image": "none"},
            {"score": 6},
            {"score": "good"},
        ):
            status, said = ask(f"{url}/score", {**right, **wrong} if wrong else wrong)
            assert status == 400
            assert json.loads(said)["error"]
        assert ask(f"{url}/state", Host="elsewhere.example")[0] == 403
        assert ask(f"{url}/score", right, Origin="http://elsewhere.example")[0] == 403
        with pytest.raises(OutputError, match="cannot be used"):
            serve(session, int(url.rsplit(":", 1)[1]))
        (tmp_path / "s.json").write_text("lost")
        assert ask(f"{url}/state?rater=Ada")[0] == 500
        assert ask(f"{url}/score", right)[0] == 400
    assert (tmp_path / "s.json").read_text() == "lost"


def test_a_page_left_open_books_on_the_image_it_shows(images, tmp_path):
    before = Session(images, tmp_path / "s.json")
    [shown, *_] = before.tokens("Ada")
    after = Session(images[2:] + images[:2], tmp_path / "s.json")
    after.rate("Ada", shown, 5)
    assert read_scores(tmp_path / "s.json") == {"Ada": {str(images[before.order("Ada")[0]]): 5}}


def test_planes_and_windows_are_what_they_say(tmp_path):
    import io

    from PIL import Image as Picture

    grid = Grid.from_spacing((40, 50, 30), (2.0, 2.0, 4.0), (-40, -50, -60))
    world = grid.points()
    shown = Shown(Image((world[..., 2] + 60).astype(np.float32), grid))
    assert [plane["letters"] for plane in shown.described] == [
        ("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I"),
    ]  # fmt: skip
    # the darkest end is taken for air
    assert 45 < shown.described[0]["slices"] <= 60

    def mean(*options):
        return np.asarray(Picture.open(io.BytesIO(shown.png(*options)))).mean()

    rising = [mean(0, at) for at in (0.1, 0.5, 0.9)]
    assert rising[0] < rising[1] - 40 < rising[2] - 80
    # a window half a range higher is darker by half of all greys, wherever there is image
    assert mean(0, 0.5, 0.0, 1.0) - mean(0, 0.5, 0.5, 1.5) == pytest.approx(127.5, rel=0.1)
    assert mean(0, 0.5, -1.0, 0.5) > 230


def test_agreement_is_told_beside_what_is_measured(images, tmp_path, capsys):
    session = Session(images, tmp_path / "s.json")
    for rater, shift in (("Ada", 0), ("Bo", 0), ("Cy", 1)):
        for token in session.tokens(rater):
            session.rate(rater, token, min(5, 1 + session.place(rater, token) + shift))
    assert main(["rate", "--report", "--scores", str(tmp_path / "s.json"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agreement"]["images_rated_by_all"] == 5
    kappas = {tuple(p["raters"]): p["kappa_quadratic"] for p in found["agreement"]["pairs"]}
    assert kappas["Ada", "Bo"] == 1
    assert 0.5 < kappas["Ada", "Cy"] < 1
    assert 0.7 < found["agreement"]["icc_2_1"] < 1
    rows = {row["image"]: row for row in found["images"]}
    assert rows[str(images[0])]["mean_score"] == pytest.approx(4 / 3)
    assert rows[str(images[4])]["noise_sd"] > rows[str(images[1])]["noise_sd"]
    images[2].unlink()
    assert main(["rate", "--report", "--scores", str(tmp_path / "s.json")]) == 0
    assert "kappa" in capsys.readouterr().out
    assert opinions({}, ["x"]) == [{"image": "x", "raters": 0, "mean_score": None}]


def test_what_cannot_be_rated_is_refused(images, tmp_path):
    with pytest.raises(InputError, match="each once"):
        Session((), tmp_path / "s.json")
    with pytest.raises(InputError, match="each once"):
        Session((images[0], images[0]), tmp_path / "s.json")
    with pytest.raises(MissingFileError):
        Session((tmp_path / "none.nii",), tmp_path / "s.json")
    session = Session(images, tmp_path / "s.json")
    with pytest.raises(OptionError, match="needs a name"):
        session.rate(" ", session.tokens(" ")[0], 3)
    with pytest.raises(OptionError, match="Reload the page"):
        session.rate("Ada", session.tokens("Bo")[0], 3)
    session.rate("Ada", session.tokens("Ada")[0], 3)
    with pytest.raises(InputError, match="not among"):
        Session(tuple(i for i in images if i != images[session.order("Ada")[0]]), tmp_path / "s.json")
    for text in ("x", "{}", '{"scores": {"a": {"b": 9}}}', '{"scores": 3}', "[]"):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UnreadableFileError, match=r"bad.json"):
            read_scores(tmp_path / "bad.json")
    assert main(["rate", "--report", "--scores", str(tmp_path / "none.json")]) == 3
    (tmp_path / "odd.json").write_text('{"scores": {}, "seed": "x"}')
    with pytest.raises(UnreadableFileError, match="seed 'x'"):
        Session(images, tmp_path / "odd.json")
    with pytest.raises(OutputError, match="no folder"):
        Session(images, tmp_path / "no" / "s.json")
