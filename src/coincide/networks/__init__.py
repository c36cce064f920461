"""Networks that look at images and say where anatomy lies."""

from coincide.networks.keypoints import KeypointNetwork, Keypoints
from coincide.networks.pyramid import PyramidNetwork
from coincide.networks.weights import NETWORKS, chosen, make, pack, shipped, unpack

__all__ = [
    "NETWORKS",
    "KeypointNetwork",
    "Keypoints",
    "PyramidNetwork",
    "chosen",
    "make",
    "pack",
    "shipped",
    "unpack",
]
