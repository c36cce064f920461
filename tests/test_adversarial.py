"""Networks that learn against each other: translator and judge, registration and judge of alignment."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from coincide.data.synthesis import Artefacts, Bend, Contrast, Motion, Synthesis, draw
from coincide.errors import DimensionError, OptionError
from coincide.image import Image
from coincide.methods import Status, parse
from coincide.methods.classical.deformable import Deformable
from coincide.methods.classical.linear import Linear
from coincide.methods.learned import adversarial, translate
from coincide.methods.learned.adversarial import Adversarial
from coincide.methods.learned.translate import Translate, translated
from coincide.networks import AdversarialNetwork, TranslateNetwork, make
from coincide.networks.blocks import parameters
from coincide.networks.judge import Judge, held
from coincide.networks.slices import along_every_axis
from coincide.ops import _parallel
from coincide.preprocess.normalise import normalise
from coincide.similarity import LNCC
from coincide.training.adversarial import AdversarialTask
from coincide.training.loop import train
from coincide.training.parse import filled
from coincide.training.recipe import Recipe
from coincide.training.stability import Stability, doubts, unreal
from coincide.training.translate import TranslateTask, painted
from coincide.transforms import Affine
from phantom import error_mm, grid_around, known, known_pair

DATA = Synthesis(shape=(32, 32), spacing=(6.0, 6.0), anatomies=("brain",), points=0)
SMALL = {
    "translate": {"channels": (8, 8), "judged": (8, 8), "registered": (6, 6), "matched": 4, "spacing": 6.0},
    "adversarial": {"channels": (8, 8), "matched": 4, "patch": 4, "registered": (6, 6), "spacing": 6.0},
}
TASKS = {"translate": TranslateTask(data=DATA), "adversarial": AdversarialTask(data=DATA)}
TEXTBOOK = TranslateTask(data=DATA, stability=Stability(smoothing=0.0, r1=0.0), registered=False)
"""Generator and judge alone, as recipes/textbook_gan.toml has them."""


@pytest.fixture(autouse=True)
def threads():
    """One thread: exactness asks for it, and so small networks are fastest."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    _parallel.set_threads(1)
    yield
    torch.set_num_threads(before)
    _parallel.set_threads(None)


both = pytest.mark.parametrize("kind", ["translate", "adversarial"])


def small(kind, **changes):
    torch.manual_seed(1)
    return make(kind, {**SMALL[kind], **changes})


def batch_of(task, network, *numbers):
    items = [task.pairs(network, 0)[n] for n in numbers]
    return {key: torch.stack([item[key] for item in items]) for key in items[0]}


def steps(kind, task, network, number, rate, *pairs):
    """The numbers of each of some steps on the same pairs."""
    batch, seen = batch_of(task, network, *pairs), []
    rule = torch.optim.Adam(network.parameters(), rate, betas=(0.5, 0.99))
    for _ in range(number):
        loss, numbers = task.loss(network, network, batch)
        rule.zero_grad()
        loss.backward()
        rule.step()
        seen.append(numbers)
    return seen


@both
def test_every_number_is_learned(kind):
    network = small(kind)
    # the last layers begin with nothing, so that those before them hear of an error from the second step on
    steps(kind, TASKS[kind], network, 1, 1e-2, 0, 1)
    loss, _ = TASKS[kind].loss(network, network, batch_of(TASKS[kind], network, 0, 1))
    network.zero_grad()
    loss.backward()
    learned = {name: p.grad for name, p in network.named_parameters()}
    assert all(gradient is not None for gradient in learned.values())
    # asked for one weight of smoothness only, whose logarithm is 0; a norm takes a bias before it away
    still = [name for name, g in learned.items() if g is not None and not bool(g.any())]
    assert all(name.endswith(("tuned.0.weight", "bias")) for name in still)
    assert 4 * parameters(make(kind, {})) < 2e6


@both
def test_the_judge_alone_learns_between_turns(kind):
    network = small(kind)
    task = replace(TASKS[kind], stability=Stability(every=3))
    learned = []
    for _ in range(6):
        network.zero_grad()
        task.loss(network, network, batch_of(task, network, 0))[0].backward()
        learned.append(any(p.grad is not None for p in network.register.parameters()))
    assert learned == [False, False, True] * 2


def test_the_textbooks_form_learns_with_all_but_the_registration_that_it_has_not():
    network = small("translate", spectral=False)
    steps("translate", TEXTBOOK, network, 1, 1e-2, 0, 1)
    loss, _ = TEXTBOOK.loss(network, network, batch_of(TEXTBOOK, network, 0, 1))
    network.zero_grad()
    loss.backward()
    for name, values in network.named_parameters():
        if name.startswith("register."):
            assert values.grad is None, name
        else:
            # a norm takes a bias before it away
            assert values.grad is not None, name
            assert bool(values.grad.any()) or name.endswith("bias"), name


@pytest.mark.parametrize("task", [TASKS["translate"], TEXTBOOK], ids=["translate", "textbook"])
def test_one_picture_is_learned(task):
    network, task = small("translate", spectral=task.registered), replace(task, adversarial=0.01)
    seen = steps("translate", task, network, 25, 2e-2, 4)
    assert seen[-1]["off"] < 0.5 * seen[0]["off"]


def test_the_judge_tells_aligned_patches_of_one_pair_and_the_registration_learns_from_it():
    network = small("adversarial")
    # a judge can tell what is off by more than a pixel
    seen = steps("adversarial", replace(TASKS["adversarial"], far=20.0, near=8.0), network, 30, 1e-2, 4)
    assert np.mean([n["told"] for n in seen[-5:]]) > 0.7
    assert np.mean([n["told"] for n in seen[:3]]) < 0.6


@pytest.mark.parametrize(
    ("kind", "more"),
    [("translate", {}), ("translate", {"registered": False}), ("adversarial", {})],
    ids=["translate", "textbook", "adversarial"],
)
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_run_that_was_stopped_goes_on_exactly(kind, more, tmp_path, monkeypatch):
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in SMALL[kind].items()}
    data = {"shape": [32, 32], "spacing": [6.0, 6.0], "anatomies": ["brain"], "points": 0}
    tables = {"network": kind, "options": options, "task": {"data": data, **more}, "steps": 4, "batch": 1}
    rates = {"rates": {"register.*": 0.5}}
    recipe = filled(
        Recipe,
        {**tables, "checkpoint": 2, "validate": 4, "kept_back": 2, "precision": "float32", "start": rates},
        "here",
    )

    class Stopped(Exception):
        pass

    def stop(*given):
        raise Stopped

    train(recipe, tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(type(TASKS[kind]), "score", stop)
        with pytest.raises(Stopped):
            train(recipe, tmp_path / "stopped")
    train(recipe, tmp_path / "stopped", resume=True)
    whole, stopped = (tmp_path / name / "last.safetensors" for name in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_collapse_is_said_while_training_goes_on(tmp_path, monkeypatch):
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in SMALL["translate"].items()}
    data = {"shape": [32, 32], "spacing": [6.0, 6.0], "anatomies": ["brain"], "points": 0}
    tables = {"network": "translate", "options": options, "task": {"data": data}, "steps": 1, "batch": 1}
    recipe = filled(Recipe, {**tables, "validate": 1, "kept_back": 3, "precision": "float32"}, "here")
    # a generator that has collapsed: whatever it is shown, it paints the same
    monkeypatch.setattr(
        TranslateNetwork,
        "forward",
        lambda self, images: torch.full_like(images, 0.3) + 0 * self.last.bias[0],
    )
    told = []
    train(recipe, tmp_path, notify=lambda step, record: told.append(record.get("doing", "")))
    assert any("has collapsed" in sentence for sentence in told)


def test_a_generator_that_collapsed_and_a_judge_that_is_sure_are_found():
    assert doubts({"variety": 0.8, "told": 0.8}) == []
    assert "collapsed" in doubts({"variety": 0.1, "told": 0.8})[0]
    assert "saturated" in doubts({"variety": 0.8, "told": 0.995})[0]
    network, task = small("translate"), TASKS["translate"]
    torch.nn.init.zeros_(network.last.weight)
    record = task.score(network.eval(), 0, 3)
    assert record["variety"] < 0.01
    assert task.doubts(record)
    tower = small("adversarial")
    torch.nn.init.zeros_(tower.narrow.weight)
    assert TASKS["adversarial"].score(tower.eval(), 0, 2)["variety"] < 0.01


def test_a_judge_that_was_left_alone_saturates_and_the_penalty_prevents_it():
    real, false = torch.rand(8, 1, 16, 16) + 0.2, torch.rand(8, 1, 16, 16) - 0.2
    surest = []
    for stability in (Stability(smoothing=0.0, r1=0.0), Stability(smoothing=0.2, r1=20.0)):
        torch.manual_seed(0)
        judge = Judge(2, 1, (8, 8), spectral=False)
        rule = torch.optim.Adam(judge.parameters(), 1e-2)
        for _ in range(60):
            shown = real.clone().requires_grad_(True)
            logits = judge(shown)
            loss = stability.real(logits) + unreal(judge(false)) + stability.steepness(logits, shown)
            rule.zero_grad()
            loss.backward()
            rule.step()
        surest.append(float(torch.sigmoid(judge(real)).max().detach()))
    assert surest[0] > 0.99
    assert surest[1] < 0.95


def test_the_spectral_norm_bounds_every_layer():
    judge = Judge(2, 1, (4, 4), spectral=True)
    for layer in judge.layers:
        torch.nn.init.normal_(layer.parametrizations.weight.original, std=5.0)  # type: ignore[union-attr]
    for _ in range(30):
        judge(torch.rand(1, 1, 16, 16))
    for layer in judge.layers:
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(  # type: ignore[reportCallIssue]
            1.0, abs=0.05
        )  # type: ignore[operator]


def test_what_is_held_learns_nothing_and_learns_again_after():
    judge = Judge(2, 1, (4,), spectral=True)
    image = torch.rand(1, 1, 8, 8, requires_grad=True)
    with held(judge):
        judge(image).sum().backward()
    assert image.grad is not None
    assert all(p.grad is None and p.requires_grad for p in judge.parameters())


def test_painted_pictures_are_as_bright_as_in_t1():
    labels = batch_of(TASKS["translate"], small("translate"), 0)["fixed_labels"]
    picture = painted(labels, 0.0)
    assert picture.shape == labels.shape
    assert float(picture[ndimage_eroded(labels == 0)].max()) == 0.0
    assert 0.3 < float(picture[labels > 0].mean()) < 0.8


def ndimage_eroded(mask):
    return torch.from_numpy(ndimage.binary_erosion(mask.numpy()[0, 0], iterations=2))[None, None]


@pytest.mark.parametrize("shape", [(9, 8, 11), (19, 23)])
def test_slices_go_back_to_where_they_came_from(shape):
    image = torch.rand(1, *shape)
    shown = []

    def network(pictures):
        shown.append(tuple(pictures.shape[2:]))
        return torch.cat([pictures, 2 * pictures], 1)

    found = along_every_axis(network, image, 4)
    assert found.shape == (3 if len(shape) == 3 else 1, 2, *shape)
    for view in found:
        assert torch.equal(view, torch.cat([image, 2 * image]))
    assert all(n % 4 == 0 for sizes in shown for n in sizes)


def test_slices_that_show_nothing_stay_empty():
    image = torch.zeros(1, 12, 12, 12)
    image[0, 4:8, 4:8, 4:8] = torch.rand(4, 4, 4)
    found = along_every_axis(lambda pictures: pictures + 1, image, 4)
    assert float(found[0, 0, :4].abs().max()) == 0
    assert float(found[0, 0, 5].min()) >= 1


@pytest.fixture
def similarity(monkeypatch):
    network = small("adversarial").eval().requires_grad_(False)
    monkeypatch.setattr(adversarial, "chosen", lambda name, path: network)
    return Adversarial()


def tissue(shape, seed=0):
    image = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.5, mode="nearest")
    return torch.from_numpy((image - image.min()) / np.ptp(image))[None].float()


@pytest.mark.parametrize("shape", [(9, 8, 11), (19, 23)])
def test_the_similarity_keeps_to_what_similarities_promise(similarity, shape):
    fixed, moving = tissue(shape), tissue(shape, 1)
    inside = torch.from_numpy(np.random.default_rng(2).random(shape) > 0.3)
    own = similarity.features(fixed)
    assert own.shape[1:] == shape
    assert float(own.min()) >= 0
    assert float(own.max()) <= 1
    prepared = similarity.prepare(fixed, inside)
    assert prepared.value(own) == pytest.approx(0, abs=1e-9)
    warped = similarity.features(moving).double()
    exact = similarity.prepare(fixed.double(), inside)
    gradient, step = exact.value_and_gradient(warped).gradient, 1e-5
    rng = np.random.default_rng(1)
    for _ in range(8):
        at = tuple(rng.integers(0, n) for n in warped.shape)
        above, below = warped.clone(), warped.clone()
        above[at] += step
        below[at] -= step
        slope = (exact.value(above) - exact.value(below)) / (2 * step)
        assert float(gradient[at]) == pytest.approx(slope, rel=1e-5, abs=1e-9)
    assert float(gradient[:, ~inside].abs().max()) == 0
    # the linear change of intensities that it says it does not mind
    assert torch.allclose(similarity.features(3 * moving + 7), similarity.features(moving), atol=1e-3)
    with pytest.raises(DimensionError, match="one channel"):
        similarity.features(torch.cat([fixed, fixed]))


def test_the_similarity_is_known_by_its_name_and_followed_by_the_optimiser(similarity, monkeypatch):
    assert parse("deformable:similarity=adversarial") == Deformable(similarity=Adversarial())
    pair = known_pair(grid_around(2, 4.0), grid_around(2, 4.0), known(2))
    start = replace(pair, initial=Affine(np.eye(3)))
    found = Deformable(similarity=similarity).solve(start)
    assert found.status is Status.SUCCEEDED
    grid = pair.fixed.grid
    assert error_mm(found.transform, known(2), grid) < 0.8 * error_mm(Affine(np.eye(3)), known(2), grid)


class Inverted(torch.nn.Module):
    """A translator that knows its trade: it paints every picture as it is, or as its negative."""

    spacing, multiple, dim = 4.0, 4, 2

    def __init__(self, sense):
        super().__init__()
        self.sense = sense

    def forward(self, images):
        return self.sense(images)


@pytest.fixture
def pair():
    return known_pair(grid_around(3, 5.0), grid_around(3, 5.0), known(3))


def test_the_method_follows_what_was_painted_and_keeps_the_better(pair, monkeypatch):
    monkeypatch.setattr(translate, "chosen", lambda name, path: Inverted(lambda x: x))
    pair = replace(pair, initial=Affine(np.eye(4)))
    off = error_mm(Affine(np.eye(4)), known(3), pair.fixed.grid)
    found = Translate(Linear(iterations=1), similarity=LNCC()).solve(pair)
    assert found.status is Status.SUCCEEDED
    assert found.evidence["value_1"] < found.evidence["value_0"]
    assert error_mm(found.transform, known(3), pair.fixed.grid) < 0.5 * off
    assert found.inverse is not None
    points = pair.fixed.grid.world(np.array([(9, 12, 8), (11.3, 8.7, 9.1)]))
    assert np.allclose(found.inverse(found.transform(points)), points, atol=0.3)
    # a painter that paints stripes leads nowhere: the start is kept, and that is said
    stripes = Inverted(torch.rand_like)
    monkeypatch.setattr(translate, "chosen", lambda name, path: stripes)
    torch.manual_seed(0)
    kept = Translate(Linear(iterations=1)).solve(replace(pair, initial=known(3)))
    assert "linear start is the better one" in kept.decisions[-1]
    assert error_mm(kept.transform, known(3), pair.fixed.grid) < 0.3


def test_the_shipped_network_helps_to_find_how_made_up_slices_were_bent():
    recipe = Synthesis(
        shape=(96, 96),
        spacing=(2.0, 2.0),
        anatomies=("brain",),
        motion=Motion(0, 0, 0.0, 0.0),
        bend=Bend(5.0, (32.0, 16.0)),
        contrast=Contrast(known=1.0),
        artefacts=Artefacts(rate=0.0),
        alike=0.0,
    )
    still, off = Affine(np.eye(3)), []
    for seed in range(1, 5):
        example = draw(recipe, 10**6 + seed)
        found = Translate(Linear(iterations=1)).solve(replace(example.pair, initial=still))
        assert example.pair.fixed_points is not None, "draw makes them"
        points = example.pair.fixed_points.world
        away = [way(points) - example.truth(points) for way in (still, found.transform)]
        off.append([np.linalg.norm(each, axis=1).mean() for each in away])
    before, after = np.mean(off, 0)
    assert after < 0.9 * before


def test_a_painted_image_lies_where_the_image_lies(pair):
    image = normalise(pair.fixed)
    found = translated(Inverted(lambda x: x), image)
    assert found.grid.matches(image.grid)
    deep = (slice(None), *[slice(9, -9)] * 3)
    assert torch.allclose(found.data[deep], image.data[deep], atol=1e-5)
    mask = image.data[0] > 0.2
    assert translated(Inverted(lambda x: x), Image(image.data, image.grid, mask=mask)).mask is not None


def test_options_out_of_range_are_refused():
    for bad in ({"smoothing": 0.5}, {"r1": -1.0}, {"every": 0}):
        with pytest.raises(OptionError, match="stability has"):
            Stability(**bad)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="expected 0 or more"):
        TranslateTask(like=-1.0)
    with pytest.raises(OptionError, match="whose tissues are known"):
        TranslateTask(data=Synthesis(shape=(32, 32), spacing=(2.0, 2.0), anatomies=("blobs",)))
    with pytest.raises(OptionError, match="numbers above 0"):
        AdversarialTask(near=0.0)
    with pytest.raises(OptionError, match="two lattices or more"):
        TranslateNetwork(channels=(8,))
    odd = Synthesis(shape=(30, 34), spacing=(6.0, 6.0), anatomies=("brain",))
    for task, kind in ((TranslateTask(data=odd), "translate"), (AdversarialTask(data=odd), "adversarial")):
        with pytest.raises(OptionError, match="expected 2 multiples of"):
            task.pairs(small(kind), 0)
    assert AdversarialNetwork().multiple == 8
