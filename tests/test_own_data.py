"""Learning from images of one's own, with labels or without, from weights that somebody has trained; and searches."""

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from coincide.cli import main
from coincide.data import DataSetError, read_data_set, tensors
from coincide.data.synthesis import Synthesis, draw, write_examples
from coincide.data.synthesis.motion import Bend, Motion
from coincide.errors import MissingFileError, OptionError, UnreadableFileError
from coincide.evaluation.comparison import Outcome, chosen_pairs, spread
from coincide.io import read_transform
from coincide.methods.learned.pyramid import Pyramid
from coincide.networks import chosen, make, pack, unpack
from coincide.training import checkpoint
from coincide.training.feed import Feed
from coincide.training.finetuning import finetuning
from coincide.training.loop import DivergedError, train
from coincide.training.objective import Objective
from coincide.training.optimiser import Optimiser
from coincide.training.own import OwnData, own_pairs
from coincide.training.parse import filled, read_tables
from coincide.training.recipe import Recipe
from coincide.training.search import _study, changed, search, spans
from coincide.training.start import Start
from coincide.transforms.linear import Affine

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
OPTIONS = {"dim": 2, "channels": [4, 4], "matched": 3, "rounds": [1], "spacing": 4.0}
MADE_UP = Synthesis(
    shape=(40, 40),
    spacing=(4.0, 4.0),
    anatomies=("blobs",),
    pose=Motion(0, 0, 0, 0),
    motion=Motion(2, 3, 0.02, 0.01),
    bend=Bend(3.0),
)
TINY = Recipe(
    "pyramid",
    OPTIONS,
    {"data": {"shape": [16, 16], "spacing": [4.0, 4.0], "anatomies": ["blobs"]}},
    steps=3,
    batch=1,
    checkpoint=1,
    validate=3,
    kept_back=2,
    precision="float32",
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Three pairs of three subjects as files, with labels and truth; one's labels are not known."""
    folder = tmp_path_factory.mktemp("pairs")
    table = write_examples(MADE_UP, range(3), folder)
    lines = table.read_text().splitlines()
    column = lines[0].split(",").index("fixed_labels")
    cells = lines[3].split(",")
    cells[column] = ""
    table.write_text("\n".join([*lines[:3], ",".join(cells)]) + "\n")
    return table


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Fresh weights of the tiny network, as a run would keep them."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    path.write_bytes(pack("pyramid", make("pyramid", OPTIONS), {"step": "1"}))
    return path


def own(pairs: Path) -> Recipe:
    return replace(TINY, data=OwnData(str(pairs), kept_back=0.4))


def test_own_pairs_are_shown_on_one_grid_with_what_is_known(pairs, tmp_path):
    network = make("pyramid", OPTIONS)
    found = own_pairs(OwnData(str(pairs), kept_back=0.4), network, tmp_path, 0)
    parts = json.loads((tmp_path / "split.json").read_text())["subjects"]
    assert len(parts["train"]) == 2
    assert {p.fixed.subject for p in found.kept_back.pairs} == set(parts["validation"])
    items = [found.train[n] for n in range(6)] + [found.kept_back[0]]
    assert len({item["fixed"].shape for item in items}) == 1
    assert all(n % network.multiple == 0 for n in items[0]["fixed"].shape[1:])
    labelled = [bool((item["fixed_labels"] >= 0).all()) for item in items]
    assert True in labelled
    assert False in labelled
    assert torch.equal(found.train[3]["fixed"], found.train[3]["fixed"])
    for item in items:
        off = item["displacement"]
        assert off.shape == (2, *item["fixed"].shape[1:])
        assert torch.isfinite(off).all()
    kept = sorted((tmp_path / "prepared").iterdir())
    again = own_pairs(OwnData(str(pairs), kept_back=0.4), network, tmp_path, 0)
    assert sorted((tmp_path / "prepared").iterdir()) == kept
    assert torch.equal(again.train[0]["moving"], found.train[0]["moving"])


def test_the_truth_on_the_shared_grid_is_that_of_the_files(pairs, tmp_path):
    found = own_pairs(OwnData(str(pairs), kept_back=0.4), make("pyramid", OPTIONS), tmp_path, 0).train
    pair = next(p for p in found.pairs)
    item = next(i for n in range(9) if torch.equal((i := found[n])["fixed"], found.laid[pair.fixed].image))
    index = np.array([10, 7])
    here = Affine(found.laid[pair.fixed].matrix.numpy())(found.grid.world(index[None]))
    there = found.grid.world(index + item["displacement"][:, 10, 7].double().numpy()[None])
    carried = Affine(found.laid[pair.moving].matrix.numpy())(there)
    assert np.allclose(carried, read_transform(pair.truth)(here), atol=1e-3)


def test_training_on_own_pairs_resumes_and_scores_them(pairs, tmp_path):
    found = train(own(pairs), tmp_path / "run")
    assert {"score", "lncc", "diffusion", "dice"} <= set(found)
    assert (tmp_path / "run" / "sample_000003.png").exists()
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    assert train(own(pairs), tmp_path / "run", resume=True)["best"] == found["best"]


def test_the_objective_teaches_a_pyramid():
    torch.manual_seed(1)
    network, task, objective = make("pyramid", OPTIONS), TINY.learned(), Objective()
    item = tensors(draw(replace(MADE_UP, shape=(32, 40), alike=1.0), 4).pair, None)
    batch = {key: value[None] for key, value in item.items()}
    rule, losses = torch.optim.Adam(network.parameters(), 0.01), []
    for _ in range(12):
        torch.manual_seed(0)
        loss, _ = objective.loss(task.fields(network, batch, 1.0), batch)
        rule.zero_grad()
        loss.backward()
        rule.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.02
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name


def test_steps_go_in_turn_as_the_share_says(pairs, tmp_path):
    recipe = replace(own(pairs), data=OwnData(str(pairs), share=0.3, kept_back=0.4))
    feed = Feed(recipe, recipe.learned(), make("pyramid", OPTIONS), tmp_path, lambda line: None)
    kinds = [feed.items(step, 1, 2)[0][0] for step in range(400)]
    assert 0.2 < np.mean(kinds) < 0.4
    assert kinds == [feed.items(step, 0, 2)[0][0] for step in range(400)], "all processes take the same kind"
    assert feed.items(7, 1, 2)[0][1] == 15
    assert set(feed[True, 0]) >= {"fixed", "displacement"}
    assert feed[False, 0]["fixed"].shape == (1, 16, 16)


def test_frozen_weights_stay_and_others_move_at_their_rates(weights, tmp_path):
    start = Start(str(weights), freeze=("body.*",), rates={"heads.*": 0.0})
    recipe = replace(TINY, start=start, average=0.0, optimiser=Optimiser(rate=0.01, decay=0.1))
    train(recipe, tmp_path / "run")
    before = unpack(weights.read_bytes(), "before")[0].state_dict()
    after = unpack((tmp_path / "run" / "last.safetensors").read_bytes(), "after")[0].state_dict()
    moved = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert "narrow" in moved
    assert not {"body", "heads"} & moved
    thawed = replace(recipe, start=replace(start, unfreeze=2))
    train(thawed, tmp_path / "thawed")
    after = unpack((tmp_path / "thawed" / "last.safetensors").read_bytes(), "after")[0].state_dict()
    assert any(not torch.equal(before[key], after[key]) for key in before if key.startswith("body"))


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"freeze": ("bodi.*",)}, r"no weight is called 'bodi.\*'. Known: body, heads"),
        ({"freeze": ("*",)}, "nothing left to learn"),
    ],
)
def test_starts_that_will_not_do_are_refused(start, message):
    with pytest.raises(OptionError, match=message):
        Start(**start).groups(make("pyramid", OPTIONS))


def test_weights_must_be_of_the_network(weights, tmp_path):
    with pytest.raises(OptionError, match="other matched"):
        Start(str(weights)).fill("pyramid", make("pyramid", {**OPTIONS, "matched": 2}))
    with pytest.raises(UnreadableFileError, match="kind pyramid, expected keypoints"):
        chosen("keypoints", str(weights))
    with pytest.raises(MissingFileError, match="no such file of weights"):
        chosen("pyramid", str(tmp_path / "none"))
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(UnreadableFileError, match="holds no network"):
        chosen("pyramid", str(tmp_path / "text"))


def test_finetuning_takes_the_options_from_the_weights(weights, tmp_path):
    recipe = finetuning(str(weights), freeze=("body.*",), steps=7)
    assert recipe.network == "pyramid"
    assert recipe.options == unpack(weights.read_bytes(), "")[0].options
    assert (recipe.steps, recipe.start.weights, recipe.start.freeze) == (7, str(weights), ("body.*",))
    other = tmp_path / "other.toml"
    other.write_text('network = "keypoints"\n')
    with pytest.raises(OptionError, match="is a recipe for keypoints"):
        finetuning(str(weights), other)


def test_own_data_that_will_not_do_is_refused(pairs, tmp_path):
    with pytest.raises(OptionError, match="learns from made-up anatomies alone"):
        Recipe("keypoints", data=OwnData(str(pairs)))
    with pytest.raises(OptionError, match=r"data\.share"):
        OwnData(share=0)
    with pytest.raises(MissingFileError):
        train(replace(TINY, data=OwnData(str(tmp_path / "none"))), tmp_path / "run")
    (tmp_path / "one.csv").write_text(
        (pairs.read_text()).replace("blobs-1", "blobs-0").replace("blobs-2", "blobs-0")
    )
    for line in (tmp_path / "one.csv").read_text().splitlines()[1:2]:
        for cell in line.split(","):
            if (pairs.parent / cell).is_file():
                os.symlink(pairs.parent / cell, tmp_path / cell)
    with pytest.raises(DataSetError, match="wrong with this data set"):
        train(replace(TINY, data=OwnData(str(tmp_path / "one.csv"))), tmp_path / "two")


def test_a_checkpoint_from_before_a_key_came_is_gone_on_from(tmp_path):
    train(TINY, tmp_path / "run")
    state = checkpoint.read(tmp_path / "run")
    assert state is not None
    older = ast.literal_eval(state["recipe"])
    del older["objective"], older["data"], older["optimiser"]["sparse"]
    checkpoint.write(tmp_path / "run", {**state, "recipe": repr(older)})
    assert train(TINY, tmp_path / "run", resume=True)["best"] == state["best"]


def test_a_search_tries_what_it_is_asked_to_and_goes_on(tmp_path):
    tables = {
        "network": "pyramid",
        "options": OPTIONS,
        "task": TINY.task,
        **{"steps": 1, "validate": 1, "kept_back": 1, "batch": 1, "precision": "float32"},
        "search": {"optimiser.rate": [1e-3, 1e-2], "seed": [0, 1]},
    }
    seen = []
    search(tables, tmp_path, 2, "grid", notify=lambda number, trial: seen.append(trial))
    found = search(tables, tmp_path, 9, "grid", notify=lambda number, trial: seen.append(trial))
    places = sorted(tuple(sorted(trial.changes.items())) for trial in seen)
    assert places == sorted((("optimiser.rate", r), ("seed", s)) for r in (1e-3, 1e-2) for s in (0, 1))
    assert [t.score for t in found] == sorted(t.score for t in seen)
    assert (tmp_path / found[0].folder / "best.safetensors").exists()


def test_recipes_that_diverge_are_left_out_of_a_search(tmp_path, monkeypatch):
    def diverging(recipe, *_, **__):
        if recipe.optimiser.rate > 1:
            raise DivergedError("the loss is nan")
        return {"best": {"score": 5.0, "step": 1}}

    monkeypatch.setattr("coincide.training.search.train", diverging)
    tables = {"network": "pyramid", "options": OPTIONS, "task": TINY.task}
    found = search({**tables, "search": {"optimiser.rate": [1e-3, 9.0]}}, tmp_path / "one", 2, "grid")
    assert [(trial.changes, trial.score) for trial in found] == [({"optimiser.rate": 1e-3}, 5.0)]
    with pytest.raises(OptionError, match="no recipe that was tried came to its end"):
        search({**tables, "search": {"optimiser.rate": [8.0, 9.0]}}, tmp_path / "two", 2, "grid")


def test_a_trial_that_was_stopped_is_tried_again(tmp_path, monkeypatch):
    asked, stop = [], [True]

    def stopping(recipe, *_, **__):
        asked.append(recipe.optimiser.rate)
        if stop.pop() if stop else False:
            raise KeyboardInterrupt
        return {"best": {"score": recipe.optimiser.rate, "step": 1}}

    monkeypatch.setattr("coincide.training.search.train", stopping)
    tables = {"network": "pyramid", "options": OPTIONS, "task": TINY.task}
    tables["search"] = {"optimiser.rate": {"low": 1e-4, "high": 1e-2, "logarithmic": True}}
    with pytest.raises(KeyboardInterrupt):
        search(tables, tmp_path, 2)
    # as a kill would leave it
    left = _study(tmp_path, spans(tables["search"]), "random", 5).ask()
    killed = spans(tables["search"])["optimiser.rate"].ask(left, "optimiser.rate")
    found = search(tables, tmp_path, 3)
    assert len(found) == 3
    assert asked[:3] == [asked[0], asked[0], killed]


def test_spans_that_will_not_do_are_refused():
    assert changed({"a": {"b": 1, "c": 2}}, {"a.b": 3, "d": 4}) == {"a": {"b": 3, "c": 2}, "d": 4}
    for tables, message in (
        ({}, "no table .search."),
        ({"optimiser.rate": {"low": 2, "high": 1}}, "in order"),
        ({"optimiser.rate": {"low": 0, "high": 1, "logarithmic": True}}, "above 0 if logarithmic"),
        ({"optimiser.rate": {"lo": 2, "high": 1}}, "found lo, high"),
        ({"optimiser.rate": 3}, "expected a list"),
    ):
        with pytest.raises(OptionError, match=message):
            spans(tables)
    with pytest.raises(OptionError, match="which is no table"):
        changed({"steps": 3}, {"steps.more": 3})


def test_evaluate_tells_means_and_spreads(pairs, tmp_path, capsys):
    out = tmp_path / "scores.json"
    command = [
        "evaluate",
        str(pairs),
        "--method",
        "linear:model=rigid",
        "--method",
        "keypoints",
        "--most",
        "2",
    ]
    assert main([*command, "--out", str(out), "--threads", "1"]) == 4, "keypoints knows volumes alone"
    record = json.loads(out.read_text())
    assert [o["verdict"] == "refused" for o in record["outcomes"]] == [False, True, False, True]
    own = [o["measures"]["truth.mean_mm"] for o in record["outcomes"] if o["measures"]]
    told = record["spread"]["linear:model=rigid"]["truth.mean_mm"]
    assert told["mean"] == pytest.approx(np.mean(own))
    assert told["sd"] == pytest.approx(np.std(own, ddof=1))
    assert "±" in capsys.readouterr().out
    assert main(["evaluate", str(pairs), "--method", "liner"]) == 3


def test_spread_leaves_out_what_is_not_known():
    some = [Outcome("a", "m", {"x": 1.0}), Outcome("b", "m", {"x": 3.0, "y": 5.0}), Outcome("c", "m")]
    found = spread(some)["m"]
    assert found["x"] == {
        "number": 2,
        "mean": 2,
        "sd": pytest.approx(2**0.5),
        "median": 2,
        "least": 1,
        "most": 3,
    }
    assert (found["y"]["number"], found["y"]["sd"]) == (1, 0)


def test_pairs_are_those_listed_or_all_of_them(pairs):
    data = read_data_set(pairs)
    assert chosen_pairs(data) == data.pairs
    assert len(chosen_pairs(replace(data, pairs=()))) == 6 * 5
    assert chosen_pairs(data, 2, 1) == chosen_pairs(data, 2, 1)
    every = chosen_pairs(replace(data, pairs=()), subjects={"blobs-1"}, others={"blobs-0"})
    told = [{p.fixed.subject, p.moving.subject} for p in every]
    # two images of each: either way between them, and of each with each of the other's
    assert (told.count({"blobs-1"}), told.count({"blobs-0", "blobs-1"}), len(told)) == (2, 8, 10)
    with pytest.raises(DataSetError, match="no pair among 6 images"):
        chosen_pairs(data, subjects={"nobody"})


MOUNTED = """
import sys
from pathlib import Path
from coincide.cli import main
sys.exit(main(["train", sys.argv[1], "--out", sys.argv[2], "--threads", "1", "--workers", "0", "--resume"]))
"""


@pytest.mark.slow
def test_a_disk_that_is_really_full_loses_what_came_since_the_last_checkpoint(tmp_path):
    """A file system of 220 kB, which the run fills; what it kept is whole, and enough to go on from elsewhere."""
    disk, recipe = tmp_path / "disk", tmp_path / "tiny.toml"
    disk.mkdir()
    recipe.write_text(TOML)
    script = (
        f"mount -t tmpfs -o size=220k none {disk} || exit 77; {sys.executable} -c '{MOUNTED}' {recipe} {disk}/run; "
        f"code=$?; cp -r {disk}/run {tmp_path}/left; exit $code"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("mounting a file system needs rights that are not given here")
    assert done.returncode == 3, done.stderr
    assert "No space left" in done.stderr
    left = tmp_path / "left"
    state = checkpoint.read(left)
    assert state is not None
    assert 0 < state["step"] < 40
    assert not list(left.glob(".*")), "nothing half-written is left"
    assert main(["train", str(recipe), "--out", str(left), "--resume", "--workers", "0"]) == 0


TOML = """
network = "pyramid"
steps = 40
batch = 1
checkpoint = 1
validate = 4
kept_back = 1
precision = "float32"
options = {dim = 2, channels = [4, 4], matched = 3, rounds = [1], spacing = 4.0}
task = {data = {shape = [16, 16], spacing = [4.0, 4.0], anatomies = ["blobs"]}}
"""


@pytest.mark.slow
def test_two_processes_train_together(tmp_path):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(TOML.replace("steps = 40", "steps = 4"))
    command = [sys.executable, "-m", "coincide", "train", str(recipe), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [*command, "--threads", "1", "--workers", "0", "--devices", "2"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best after step") == 1
    state = checkpoint.read(tmp_path / "run")
    assert state is not None
    assert state["step"] == 4


def test_several_weights_are_an_ensemble_whose_spread_is_the_uncertainty(weights, tmp_path):
    torch.manual_seed(9)
    network = make("pyramid", OPTIONS)
    for layer in network.heads:
        torch.nn.init.normal_(layer.last.bias, std=0.5)
    other = tmp_path / "other.safetensors"
    other.write_bytes(pack("pyramid", network))
    pair, start = draw(replace(MADE_UP, shape=(48, 40)), 3).pair, Affine(np.eye(3))
    one, two, both = (
        Pyramid(weights=spec).seen(pair.fixed, pair.moving, start)
        for spec in (str(weights), str(other), f"{weights}+{other}")
    )
    assert one[2] is None
    assert both[2] is not None
    assert torch.allclose(both[0], (one[0] + two[0]) / 2, atol=1e-6)
    apart = (one[0] - two[0]).abs() / 2**0.5 * float(both[1].spacing[0])
    assert float(apart.max()) > 0.1
    assert torch.allclose(both[2].data, apart, atol=1e-5)
    finer = tmp_path / "finer.safetensors"
    finer.write_bytes(pack("pyramid", make("pyramid", {**OPTIONS, "spacing": 3.0})))
    with pytest.raises(OptionError, match="look at different voxels"):
        Pyramid(weights=f"{weights}+{finer}").seen(pair.fixed, pair.moving, start)


def tables_of(text: str, path: Path) -> dict:
    path.write_text(text)
    return read_tables(path)


def test_the_tables_of_the_documentation_are_read(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in text.split("```toml\n")[1:]]
    own_tables, searched = (tables_of(block, tmp_path / "block.toml") for block in blocks)
    recipe = filled(Recipe, {"network": "pyramid", **own_tables}, "docs")
    assert recipe.objective.penalties == {"diffusion": 1.0, "bending": 0.5}
    assert recipe.start.unfreeze == 500
    assert spans(searched["search"])["options.matched"].values == (8, 16, 32)
