"""Networks with what they have learned, as safetensors; those that ship are checked before they are used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from coincide.errors import MissingFileError, OptionError, UnreadableFileError, unknown
from coincide.networks.adversarial import AdversarialNetwork
from coincide.networks.flattened import FlattenedNetwork
from coincide.networks.keypoints import KeypointNetwork
from coincide.networks.pyramid import PyramidNetwork
from coincide.networks.recurrent import RecurrentNetwork
from coincide.networks.regressor import RegressorNetwork
from coincide.networks.sequence import SequenceNetwork
from coincide.networks.translate import TranslateNetwork

Network = (
    AdversarialNetwork
    | FlattenedNetwork
    | KeypointNetwork
    | PyramidNetwork
    | RecurrentNetwork
    | RegressorNetwork
    | SequenceNetwork
    | TranslateNetwork
)

NETWORKS: dict[str, type[Network]] = {
    "adversarial": AdversarialNetwork,
    "flattened": FlattenedNetwork,
    "keypoints": KeypointNetwork,
    "pyramid": PyramidNetwork,
    "recurrent": RecurrentNetwork,
    "regressor": RegressorNetwork,
    "sequence": SequenceNetwork,
    "translate": TranslateNetwork,
}
"""Kinds of network by name."""

SHIPPED: dict[str, str] = {
    "keypoints": "ef1659b2ea46611b26d67c3a3ec9e190614a6ab61692afe921d6138dc8f323a2",
    "pyramid": "0a94fcfb8d7fa7af1a5f748574b87aa7b2ac8a382ccbe3a4fc4578efa9286907",
    "recurrent": "a613c28d4737f3ecc065bb874173682cf89a7efd1f05788d51f0b4daa019c6a5",
    "sequence": "ea6c01d36946dc460df1c256901727ef42a5b8c1eaca2088c45cedf68c0984fd",
    "translate": "e10a9a10617c8c08c03f9f8d2079da11b6092aefb83a55004cdef60d45d03007",
}
"""SHA-256 of the weights in the folder `networks/shipped`, by the network's name."""


def make(name: str, options: Mapping[str, Any]) -> Any:
    """A network of the kind `name` with fresh weights.

    Raises:
        OptionError: an unknown kind, or options that it does not take.
    """
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    kept: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in options.items()
    }
    try:
        return NETWORKS[name](**kept)
    except TypeError as error:
        raise OptionError(f"network {name!r}: {error}.") from error


def pack(name: str, network: Network, notes: Mapping[str, str] | None = None) -> bytes:
    """A network of the kind `name` as the bytes of a safetensors file.

    Args:
        name: of its kind.
        network: one that `make` made.
        notes: what else to keep in the file's header.
    """
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    header = {"network": name, "options": network.options, "notes": dict(notes or {})}
    # one entry: safetensors writes several in an order of chance, and the same weights are to be the same bytes
    return save_tensors(tensors, {"coincide": json.dumps(header)})


def unpack(data: bytes, where: str) -> tuple[Any, dict[str, str]]:
    """The network that `data` holds, ready for use, and the notes in its header.

    Args:
        data: of a safetensors file that `pack` made.
        where: what to call it in messages.

    Raises:
        UnreadableFileError: broken, or not of a network that is known here.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["coincide"])
        network = make(header["network"], header["options"])
        network.load_state_dict(load_tensors(data))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, OptionError) as error:
        raise UnreadableFileError(
            f"{where}: holds no network that coincide knows ({error}). Expected a safetensors file that "
            "'coincide train' wrote."
        ) from error
    return network.eval().requires_grad_(False), header["notes"]


def chosen(name: str, path: str = "") -> Any:
    """The network `name` with the weights in a file, or with those that come with coincide where none is named.

    Args:
        name: of its kind.
        path: of a file that `coincide train` wrote, or empty.

    Raises:
        MissingFileError: there is no such file.
        UnreadableFileError: it holds no network, or one of another kind.
        OptionError: no weights of this kind come with coincide.
    """
    if not path:
        return shipped(name)
    kind, network = opened(path)
    if kind != name:
        raise UnreadableFileError(
            f"{path}: holds a network of the kind {kind}, expected {name}. Take the method of that name."
        )
    return network


def opened(path: str) -> tuple[str, Any]:
    """The kind of the network in a file that `coincide train` wrote, and the network, ready for use.

    Raises:
        MissingFileError: there is no such file.
        UnreadableFileError: it holds no network.
    """
    try:
        data = Path(path).expanduser().read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such file of weights.") from error
    except OSError as error:
        raise UnreadableFileError(f"{path}: cannot be read ({error.strerror}).") from error
    network, _ = unpack(data, path)
    return next(name for name, kind in NETWORKS.items() if isinstance(network, kind)), network


@lru_cache(maxsize=4)
def shipped(name: str) -> Any:
    """The network `name` with the weights that come with coincide.

    Raises:
        OptionError: there is none of this name.
        MissingFileError: the installation lacks the file.
        UnreadableFileError: the file is not the one that was shipped.
    """
    if name in NETWORKS and name not in SHIPPED:
        raise OptionError(
            f"no weights of the network {name} come with coincide. Train some ('coincide train recipes/{name}.toml')"
            " and give the file as weights."
        )
    if name not in SHIPPED:
        raise unknown("shipped network", name, SHIPPED)
    file = resources.files("coincide.networks") / "shipped" / f"{name}.safetensors"
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(
            f"{file}: the installation lacks this file. Install coincide again."
        ) from error
    found = hashlib.sha256(data).hexdigest()
    if found != SHIPPED[name]:
        raise UnreadableFileError(
            f"{file}: is not the file that coincide ships (SHA-256 {found[:16]}…, expected {SHIPPED[name][:16]}…). "
            "Install coincide again."
        )
    return unpack(data, str(file))[0]
