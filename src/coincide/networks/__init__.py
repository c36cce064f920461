"""Networks that look at images and say where anatomy lies."""

from coincide.networks.adversarial import AdversarialNetwork
from coincide.networks.flattened import FlattenedNetwork
from coincide.networks.keypoints import KeypointNetwork, Keypoints
from coincide.networks.pyramid import PyramidNetwork
from coincide.networks.recurrent import RecurrentNetwork
from coincide.networks.regressor import RegressorNetwork
from coincide.networks.sequence import Course, SequenceNetwork
from coincide.networks.translate import TranslateNetwork
from coincide.networks.weights import NETWORKS, chosen, make, pack, shipped, unpack

__all__ = [
    "NETWORKS",
    "AdversarialNetwork",
    "Course",
    "FlattenedNetwork",
    "KeypointNetwork",
    "Keypoints",
    "PyramidNetwork",
    "RecurrentNetwork",
    "RegressorNetwork",
    "SequenceNetwork",
    "TranslateNetwork",
    "chosen",
    "make",
    "pack",
    "shipped",
    "unpack",
]
