"""What networks are charged for on images whose truth nobody knows."""

import math

import pytest
import torch

from coincide.errors import OptionError
from coincide.ops.field import lattice
from coincide.regularity.penalties import bending, folding, inverse_consistency
from coincide.similarity import SIMILARITIES
from coincide.training.objective import Fields, Objective, overlap, shared_labels
from coincide.training.optimiser import Optimiser, Schedule, draw_to_zero
from coincide.training.parse import filled

SHAPES = [(14, 18), (10, 12, 14)]


def linear_field(matrix, shape):
    """`u(x) = matrix · x`, `(1, dim, *shape)` voxels."""
    place = lattice(shape, torch.zeros(1))
    return torch.einsum("ab,b...->a...", torch.tensor(matrix), place)[None]


def smooth(shape, *, shift=0.0, labels=False):
    """Something that has features along every axis, moved by `shift` voxels along the first."""
    place = lattice(shape, torch.zeros(1))
    place[0] -= shift
    wave = torch.stack([torch.sin(0.7 * axis + n) for n, axis in enumerate(place)]).sum(0)
    if labels:
        return (wave > 0.4).long()[None] + 2 * (wave < -0.6).long()[None]
    return (wave - wave.min())[None] / (wave.max() - wave.min())


def batch_of(shape, shift=1.0):
    return {
        "fixed": smooth(shape)[None],
        "moving": smooth(shape, shift=shift)[None],
        "fixed_labels": smooth(shape, labels=True)[None],
        "moving_labels": smooth(shape, shift=shift, labels=True)[None],
    }


def constant(shape, along_first):
    field = torch.zeros(1, len(shape), *shape)
    field[:, 0] = along_first
    return field


@pytest.mark.parametrize("shape", SHAPES)
def test_penalties_of_fields_whose_penalty_is_known(shape):
    dim = len(shape)
    skew = torch.eye(dim).mul(0.2)
    skew[0, 1] = 0.3
    field = linear_field(skew.tolist(), shape)
    assert float(bending(field)) == pytest.approx(0, abs=1e-9)
    assert float(folding(field)) == 0
    inside_out = torch.eye(dim).mul(0)
    inside_out[0, 0] = -1.5
    # the determinant is −1/2 everywhere, and charged for below 1/20
    assert float(folding(linear_field(inside_out.tolist(), shape))) == pytest.approx(0.55, abs=1e-5)
    place = lattice(shape, torch.zeros(1))
    curved = torch.zeros(1, dim, *shape)
    curved[0, 1] = 0.5 * place[0] ** 2 + 2 * place[0] * place[1]
    # along the first axis 1² everywhere; mixed, twice, 2² everywhere
    assert float(bending(curved)) == pytest.approx(1 + 2 * 4, rel=1e-4)
    shift = constant(shape, 0.5)
    assert float(inverse_consistency(shift, -shift)) == pytest.approx(0, abs=1e-9)
    assert float(inverse_consistency(shift, shift)) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spec", [*(set(SIMILARITIES) - {"dice", "cross_entropy"}), "lncc:radius=1"])
def test_every_similarity_is_a_loss_that_falls_towards_the_truth(spec, shape):
    objective = Objective(images={spec: 1.0}, labels={}, penalties={})
    batch = batch_of(shape)
    values = [
        objective.loss(Fields(constant(shape, x), constant(shape, -x), torch.ones(1)), batch)[0]
        for x in (0, 1)
    ]
    assert float(values[1]) < float(values[0])
    field = constant(shape, 0.6).requires_grad_()
    objective.loss(Fields(field, -field, torch.ones(1)), batch)[0].backward()
    assert field.grad is not None
    assert float(field.grad[:, 0].sum()) < 0, "further along the first axis is better"


@pytest.mark.parametrize("name", ["dice", "cross_entropy"])
def test_labels_are_a_loss_that_falls_towards_the_truth(name):
    objective, shape = Objective(images={}, labels={name: 1.0}, penalties={}), SHAPES[1]
    field = constant(shape, 0.6).requires_grad_()
    loss, parts = objective.loss(Fields(field, -field, torch.ones(1)), batch_of(shape))
    loss.backward()
    assert list(parts) == [f"labels_{name}"]
    assert field.grad is not None
    assert float(field.grad[:, 0].sum()) < 0


def test_pairs_without_labels_or_truth_are_charged_for_the_rest():
    shape, objective = SHAPES[0], Objective(truth={"mse": 1.0, "mae": 2.0})
    field = constant(shape, 0.5)
    known = batch_of(shape) | {"displacement": constant(shape, 1.0)}
    nothing = {
        **batch_of(shape),
        "fixed_labels": torch.full((1, 1, *shape), -1),
        "displacement": torch.full((1, 2, *shape), math.nan),
    }
    fields = Fields(field, -field, torch.ones(1))
    full, bare = objective.loss(fields, known)[1], objective.loss(fields, nothing)[1]
    assert set(full) - set(bare) == {"labels_dice", "truth_mse", "truth_mae"}
    # one of the two axes is half a voxel off
    assert full["truth_mse"] == pytest.approx(0.125)
    assert full["truth_mae"] == pytest.approx(0.5)
    both = {key: torch.cat([known[key], nothing[key]]) for key in known}
    mixed = objective.loss(Fields(*(torch.cat([part, part]) for part in fields)), both)[1]
    assert mixed["labels_dice"] == pytest.approx(full["labels_dice"] / 2)
    assert mixed["lncc"] == pytest.approx(full["lncc"], rel=1e-5)


def test_smoothness_counts_as_much_as_was_asked_for():
    shape = SHAPES[0]
    field = linear_field([[0.1, 0.0], [0.0, 0.2]], shape)
    parts = [
        Objective(penalties={"diffusion": 2.0}).loss(
            Fields(field, -field, torch.tensor([w])), batch_of(shape)
        )[1]
        for w in (1.0, 5.0)
    ]
    assert parts[1]["diffusion"] == pytest.approx(5 * parts[0]["diffusion"])
    assert parts[0]["diffusion"] == pytest.approx(2 * (0.1**2 + 0.2**2), rel=1e-4)


def test_labels_in_common_alone_count():
    fixed, moving = torch.tensor([[[0, 1, 2, 5]]]), torch.tensor([[[0, 2, 2, 7]]])
    shares = shared_labels(fixed, moving)
    assert shares is not None
    assert [s.tolist() for s in shares] == [
        [[[1, 1, 0, 1]], [[0, 0, 1, 0]]],
        [[[1, 0, 0, 1]], [[0, 1, 1, 0]]],
    ]
    assert shared_labels(torch.full_like(fixed, -1), moving) is None
    item = {"fixed_labels": fixed, "moving_labels": moving}
    # 2 · 1 / (1 + 2)
    assert overlap(torch.zeros(2, 1, 4), item) == pytest.approx(2 / 3)
    assert overlap(torch.zeros(2, 1, 4), item | {"fixed_labels": fixed * 0}) is None


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"images": {"lnc": 1.0}}, "Did you mean 'lncc'"),
        ({"images": {"lncc:radius=0": 1.0}}, "radius"),
        ({"labels": {"dise": 1.0}}, "Did you mean 'dice'"),
        ({"penalties": {"bendin": 1.0}}, "Did you mean 'bending'"),
        ({"truth": {"mse": -1.0}}, "weight of 'mse' is -1.0"),
        ({"truth": {"mse": "much"}}, "weight of 'mse' is 'much'"),
        ({"images": {}, "labels": {}}, "compares nothing"),
    ],
)
def test_objectives_that_will_not_do_are_refused(table, message):
    with pytest.raises(OptionError, match=message):
        filled(Objective, table, "objective")


def test_an_l1_penalty_draws_weights_to_zero_and_not_past_it():
    weight = torch.nn.Parameter(torch.tensor([0.3, -0.05, 0.0]))
    rule = Optimiser(kind="sgd", rate=0.5, decay=0, sparse=0.2).make([weight])
    draw_to_zero(rule, 0.2)
    assert weight.tolist() == pytest.approx([0.2, 0.0, 0.0])


def test_a_plateau_drops_the_rate_each_time():
    plateau = Schedule("plateau", warm_up=0, drop=0.5)
    assert [plateau.share(70, 100, drops) for drops in (0, 1, 3)] == [1, 0.5, 0.125]
