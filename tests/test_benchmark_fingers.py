"""The joints of the fingers and the motion that bends them, on a hand that is made up."""

import numpy as np
import pytest
from benchmarks.fingers import CHAINS, JOINTS, Bent, angle_error, joint_angles


def landmarks():
    """37 landmarks of a hand: fingers of different lengths that fan out, a wrist below."""
    found = np.zeros((37, 2))
    found[:13] = np.stack([np.linspace(-14, 16, 13), np.tile([-52.0, -47], 7)[:13]], -1)
    for way, (name, chain) in zip((38, 12, 2, -9, -21), CHAINS.items()):
        ahead = np.array([np.sin(np.deg2rad(way)), np.cos(np.deg2rad(way))])
        start = np.array([way / 2.0, -30])
        for joint, mark in enumerate(chain):
            found[mark] = start + ahead * (45 * joint - 4 * joint**2 if name != "thumb" else 33 * joint)
    return found


HAND = landmarks()


def test_angles_of_joints_are_those_between_the_bones():
    assert np.abs(joint_angles(HAND)).max() < 1e-9
    assert len(JOINTS) == 14
    bent = HAND.copy()
    _, middle, tip = JOINTS[0]
    turn = np.deg2rad(25)
    bent[tip] = HAND[middle] + np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ (
        HAND[tip] - HAND[middle]
    )
    assert joint_angles(bent)[0] == pytest.approx(25)
    assert angle_error(bent, HAND) == pytest.approx((25 + abs(joint_angles(bent)[1])) / 14)
    # a turn of the whole hand is none of its joints
    assert joint_angles(bent[:, ::-1] * (1, -1)) == pytest.approx(joint_angles(bent))


def test_a_bent_hand_has_the_angles_it_was_asked_for_and_is_undone_backwards():
    asked = np.random.default_rng(0).uniform(-8, 8, len(JOINTS))
    bent = Bent.of(HAND, asked)
    moved = bent(HAND)
    assert np.abs(joint_angles(moved) - asked).max() < 1.5
    assert np.linalg.norm(moved - HAND, axis=1).max() > 5
    assert np.abs(bent(moved, backwards=True) - HAND).max() < 0.01
    # the wrist keeps still, and so does a hand of which nothing is asked
    assert np.linalg.norm(moved - HAND, axis=1)[:13].max() < 0.5
    assert np.abs(Bent.of(HAND, np.zeros(14))(HAND) - HAND).max() < 1e-12


def test_nothing_folds():
    bent = Bent.of(HAND, np.random.default_rng(1).uniform(-8, 8, len(JOINTS)))
    places = np.stack(np.meshgrid(np.arange(-60.0, 90, 2), np.arange(-70.0, 120, 2), indexing="ij"), -1)
    slopes = np.stack(np.gradient(bent(places), 2.0, axis=(0, 1)), -1)
    assert np.linalg.det(slopes).min() > 0
