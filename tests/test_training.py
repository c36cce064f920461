"""Recipes, the training loop, and that a run which was stopped in any way goes on exactly."""

import errno
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from coincide.cli import main
from coincide.data.synthesis.structures import STRUCTURES
from coincide.errors import MissingFileError, OptionError, OutputError, UnreadableFileError
from coincide.networks import KeypointNetwork, unpack
from coincide.training import checkpoint
from coincide.training.average import Average
from coincide.training.cells import cells, sites
from coincide.training.keypoints import KeypointTask
from coincide.training.loop import train
from coincide.training.optimiser import Optimiser, Schedule
from coincide.training.parse import filled
from coincide.training.recipe import Recipe, read_recipe

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))
TINY = """
network = "keypoints"
steps = {steps}
batch = 1
checkpoint = 2
validate = {validate}
kept_back = 1
precision = "{precision}"
[options]
keypoints = 4
channels = [3, 4]
shape = 16
spacing = 13
[task.data]
anatomies = ["brain"]
pose = {{rotation = 0, shift = 0}}
"""
pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


@pytest.fixture
def threads():
    """One thread, as exactness asks for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def recipe_file(folder: Path, steps=6, validate=3, precision="bf16", extra="") -> Path:
    path = folder / "tiny.toml"
    path.write_text(extra + TINY.format(steps=steps, validate=validate, precision=precision))
    return path


@pytest.fixture
def tiny(tmp_path) -> Recipe:
    return read_recipe(recipe_file(tmp_path))


class Stopped(Exception):
    pass


def stop_at(step):
    def notify(now, record):
        if now == step:
            raise Stopped

    return notify


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_recipes_that_ship_are_read(path):
    recipe = read_recipe(path)
    assert f"coincide train recipes/{path.name}" in path.read_text(), "the header states the command"
    assert recipe.learned()


def test_unknown_keys_are_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(OptionError, match=r"'stepps'. Did you mean 'steps'"):
        read_recipe(recipe_file(tmp_path, extra="stepps = 3\n"))
    with pytest.raises(OptionError, match=r"tiny.toml, optimiser 'rat'. Did you mean 'rate'"):
        read_recipe(recipe_file(tmp_path, extra="optimiser = {rat = 3}\n"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"network": "keypoint"}, "Did you mean 'keypoints'"),
        ({}, "'network' is missing"),
        ({"network": "keypoints", "steps": "many"}, "steps: expected int, found 'many'"),
        ({"network": "keypoints", "steps": True}, "expected int, found True"),
        ({"network": "keypoints", "steps": 0}, "steps is 0, expected 1 or more"),
        ({"network": "keypoints", "precision": "bf15"}, "Did you mean 'bf16'"),
        ({"network": "keypoints", "optimiser": 3}, "expected a table"),
        ({"network": "keypoints", "optimiser": {"rate": -1.0}}, "rate above 0"),
        ({"network": "keypoints", "schedule": {"at": 3}}, "expected a list"),
        ({"network": "keypoints", "task": {"distanse": 1}}, "Did you mean 'distance'"),
        (
            {"network": "keypoints", "task": {"data": {"anatomies": ["body"]}}},
            "brains and heads that lie upright",
        ),
    ],
)
def test_recipes_that_will_not_do_are_refused(table, message):
    with pytest.raises(OptionError, match=message):
        filled(Recipe, table, "here")


def test_whole_numbers_do_for_fractions():
    assert filled(Recipe, {"network": "keypoints", "optimiser": {"rate": 1}}, "here").optimiser.rate == 1.0


def test_files_that_are_no_recipe_are_refused(tmp_path):
    with pytest.raises(MissingFileError):
        read_recipe(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("steps = = 3")
    with pytest.raises(UnreadableFileError, match="no recipe in TOML"):
        read_recipe(tmp_path / "broken.toml")


def test_schedules():
    cosine = Schedule("cosine", warm_up=9, last=0.1)
    assert cosine.share(0, 1000) == pytest.approx(0.1, rel=1e-3)
    assert cosine.share(500, 1000) == pytest.approx(0.55)
    assert cosine.share(1000, 1000) == pytest.approx(0.1)
    step = Schedule("step", warm_up=0, drop=0.5, at=(0.5, 0.75))
    assert [step.share(n, 100) for n in (49, 50, 80)] == [1, 0.5, 0.25]
    assert Schedule("constant", warm_up=0).share(70, 100) == 1


@pytest.mark.parametrize("kind", ["adam", "adamw", "rmsprop", "sgd"])
def test_every_rule_goes_downhill(kind):
    weight = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    rule = Optimiser(kind, rate=0.05, decay=0.0).make([weight])
    for _ in range(200):
        rule.zero_grad()
        (weight * torch.tensor([1.0, 0.3])).square().sum().backward()
        rule.step()
    assert float(weight.detach().abs().max()) < 0.3


def test_the_average_follows_its_definition():
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(network.weight, 1.0)
    average = Average(network, 0.5)
    torch.nn.init.constant_(network.weight, 3.0)
    average.update(network, 1000)
    assert float(average.weights["weight"]) == 2.0


def test_sites_are_mirror_images_and_cells_are_around_them():
    places = sites(6)
    assert np.allclose(places[3:], places[:3] * (-1, 1, 1))
    assert (places[:3, 0] < 0).all(), "left first"
    world = torch.from_numpy(places).float()[None]
    cortex = torch.full((1, 6), STRUCTURES["left cerebral cortex"].label)
    assert cells(cortex, world, 6).tolist() == [[1, 2, 3, 4, 5, 6]]
    assert not cells(torch.full((1, 6), STRUCTURES["bone"].label), world, 6).any()


def test_the_parts_of_the_moving_image_are_those_of_the_fixed_one_moved():
    task, network = KeypointTask(), KeypointNetwork(keypoints=8, shape=48, spacing=4.5)
    item = {key: value[None] for key, value in task.pairs(network, 5)[0].items()}
    parts = task._parts(network, item, 8)
    assert parts.shape == (2, 24, 24, 24)
    centres = []
    for image in parts:
        index = [torch.nonzero(image == n + 1).float().mean(0) * network.stride for n in range(8)]
        centres.append(task._world(network, torch.stack(index)).double().numpy())
    there = np.c_[centres[0], np.ones(8)] @ item["matrix"][0].double().numpy().T
    # parts are cut off by the field of view, and the truth bends a little
    assert np.median(np.linalg.norm(there[:, :3] - centres[1], axis=1)) < 6


def test_a_run_that_stopped_goes_on_bit_for_bit(tmp_path, tiny, threads):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    train(tiny, whole)
    for step in (3, 6):
        with pytest.raises(Stopped):
            train(tiny, parted, resume=True, notify=stop_at(step))
    train(tiny, parted, resume=True)
    for name in ("last.safetensors", "best.safetensors"):
        assert (whole / name).read_bytes() == (parted / name).read_bytes()
    one, other = (checkpoint.read(folder) for folder in (whole, parted))
    assert one is not None
    assert other is not None
    assert all(torch.equal(one["network"][key], other["network"][key]) for key in one["network"])
    steps = [json.loads(line)["step"] for line in (parted / "log.jsonl").read_text().splitlines()]
    assert steps == sorted(steps), "what came after the checkpoint is logged once"


@pytest.mark.slow
def test_a_run_killed_thrice_ends_with_the_same_weights(tmp_path):
    path = recipe_file(tmp_path, steps=150, validate=150)
    command = [sys.executable, "-m", "coincide", "train", str(path), "--threads", "1", "--resume", "--out"]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, capture_output=True)
    folder, killed = tmp_path / "killed", 0
    while killed < 3:
        process = subprocess.Popen(
            [*command, str(folder)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        begun = checkpoint_step(folder)
        while process.poll() is None and checkpoint_step(folder) < begun + 20:
            time.sleep(0.02)
        assert process.poll() is None, "it ended before it was killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    subprocess.run([*command, str(folder)], check=True, capture_output=True)
    assert (folder / "last.safetensors").read_bytes() == (
        tmp_path / "whole" / "last.safetensors"
    ).read_bytes()


def checkpoint_step(folder: Path) -> int:
    state = checkpoint.read(folder)
    return 0 if state is None else state["step"]


def test_a_full_disk_loses_only_what_came_since_the_last_checkpoint(tmp_path, tiny, monkeypatch):
    folder, write = tmp_path / "run", Path.write_bytes

    def full(self, data):
        if self.name.endswith(checkpoint.NAME) and checkpoint_step(folder) == 2:
            write(self, bytes(data)[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"checkpoint of step 4 is lost.*No space left.*--resume"):
        train(tiny, folder)
    assert checkpoint_step(folder) == 2
    assert not list(folder.glob(".*")), "nothing half-written is left"
    monkeypatch.undo()
    assert train(tiny, folder, resume=True)["best"]["step"] in (3, 6)


def test_a_run_is_not_overwritten_nor_mixed_with_another(tmp_path, tiny):
    train(tiny, tmp_path / "run")
    with pytest.raises(OptionError, match="holds a training run already"):
        train(tiny, tmp_path / "run")
    other = read_recipe(recipe_file(tmp_path, steps=8))
    with pytest.raises(OptionError, match="run of another recipe"):
        train(other, tmp_path / "run", resume=True)


def test_a_broken_checkpoint_is_told_of(tmp_path, tiny):
    (tmp_path / checkpoint.NAME).write_bytes(b"no checkpoint")
    with pytest.raises(UnreadableFileError, match="is no checkpoint"):
        train(tiny, tmp_path, resume=True)


def test_a_folder_that_cannot_be_made_is_told_of(tmp_path, tiny):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        train(tiny, tmp_path / "file" / "run")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    recipe = read_recipe(
        recipe_file(tmp_path, precision="float32", extra="optimiser = {rate = 900, clip = 0, kind = 'sgd'}\n")
    )
    with pytest.raises(OptionError, match=r"the loss of step \d+ is (nan|inf)"):
        train(recipe, tmp_path / "run")


def test_training_learns(tmp_path):
    recipe = read_recipe(
        recipe_file(
            tmp_path,
            steps=40,
            validate=40,
            precision="float32",
            extra="average = 0.0\noptimiser = {rate = 0.01}\n",
        )
    )
    records = []
    train(recipe, tmp_path / "run", notify=lambda step, record: records.append(record))
    looks = [r["loss"] for r in records if "loss" in r]
    assert looks[-1] < 0.9 * looks[0]
    network, notes = unpack((tmp_path / "run" / "last.safetensors").read_bytes(), "last")
    assert notes["step"] == "40"
    again = recipe.learned().score(network, 2**40, 1)
    assert again["score"] == pytest.approx(float(notes["score"]), abs=1e-3)


def test_patience_ends_a_run_that_makes_no_progress(tmp_path):
    extra = "patience = 2\noptimiser = {rate = 1e-12}\n"
    recipe = read_recipe(recipe_file(tmp_path, steps=60, validate=2, extra=extra))
    train(recipe, tmp_path / "run")
    assert checkpoint_step(tmp_path / "run") < 20


def test_the_command_line_trains_and_refuses(tmp_path, capfd):
    assert main(["train", str(recipe_file(tmp_path)), "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "best.safetensors").exists()
    assert main(["train", str(recipe_file(tmp_path, extra="bach = 2\n")), "--out", str(tmp_path / "b")]) == 3
    assert "Did you mean 'batch'" in capfd.readouterr().err
