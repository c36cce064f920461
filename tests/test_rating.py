"""The rating page: in a browser, over its own protocol, and what is told of the scores."""

import json
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from browser import browser, wait_for
from coincide.cli import main
from coincide.errors import InputError, MissingFileError, OptionError, OutputError, UnreadableFileError
from coincide.io import write_image
from coincide.viewer.rating.server import serve
from coincide.viewer.rating.session import Session, opinions, read_scores
from phantom import grid_around, picture

NAMES = ("kowari", "numbat", "quokka", "dunnart", "bilby")


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
            wait_for(lambda: page.look("document.getElementById('picture').naturalWidth") > 100)
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


def test_orders_are_the_raters_own_and_stay(images, tmp_path):
    session = Session(images, tmp_path / "s.json", seed=1)
    orders = {tuple(session.order(f"rater {k}")) for k in range(12)}
    assert len(orders) > 8
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert Session(images, tmp_path / "s.json", seed=1).order("Ada") == session.order("Ada")
    assert Session(images, tmp_path / "t.json", seed=2).order("Ada") != session.order("Ada")


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
        status, picture_ = ask(f"{url}/picture/0?rater=Ada")
        assert (status, picture_[:4]) == (200, b"\x89PNG")
        status, said = ask(f"{url}/picture/4?rater=Ada")
        assert status == 500
        assert not any(name.encode() in said for name in NAMES)
        assert ask(f"{url}/picture/5?rater=Ada")[0] == 404
        assert ask(f"{url}/nothing")[0] == 404
        assert ask(f"{url}/score", {"rater": "Ada", "step": 1, "score": 4})[0] == 200
        for wrong in ({}, [], {"rater": "", "step": 1, "score": 4}, {"rater": "A", "step": 9, "score": 4}):
            assert ask(f"{url}/score", wrong)[0] in (400, 500)
        assert ask(f"{url}/score", {"rater": "A", "step": 0, "score": 6})[0] in (400, 500)
        assert ask(f"{url}/state", Host="elsewhere.example")[0] == 403
        assert (
            ask(f"{url}/score", {"rater": "A", "step": 0, "score": 1}, Origin="http://elsewhere.example")[0]
            == 403
        )
        with pytest.raises(OutputError, match="cannot be used"):
            serve(session, int(url.rsplit(":", 1)[1]))
    assert list(read_scores(tmp_path / "s.json")) == ["Ada"]


def test_agreement_is_told_beside_what_is_measured(images, tmp_path, capsys):
    session = Session(images, tmp_path / "s.json")
    for rater, shift in (("Ada", 0), ("Bo", 0), ("Cy", 1)):
        for step, place in enumerate(session.order(rater)):
            session.rate(rater, step, min(5, 1 + place + shift))
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
        session.rate(" ", 0, 3)
    session.rate("Ada", 0, 3)
    with pytest.raises(InputError, match="not among"):
        Session(tuple(i for i in images if i != images[session.order("Ada")[0]]), tmp_path / "s.json")
    for text in ("x", "{}", '{"scores": {"a": {"b": 9}}}', '{"scores": 3}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(UnreadableFileError, match=r"bad.json"):
            read_scores(tmp_path / "bad.json")
    assert main(["rate", "--report", "--scores", str(tmp_path / "none.json")]) == 3
