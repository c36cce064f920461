"""A method with all that a run asks of it in its options; what it cannot do is refused, before any work."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from coincide.errors import OptionError
from coincide.methods import METHODS
from coincide.methods.base import AbstractMethod
from coincide.methods.classical.bending import Bending
from coincide.methods.registry import available, known_similarities, parse
from coincide.options import Count, Whole, build, check_value
from coincide.similarity import Similarity

_STEERED = (
    "Landmarks steer auto and deformable (where they deform), landmarks, icp and cpd; labels steer icp, cpd, boundary "
    "and regions"
)
"""What a run can be steered by; a test holds it to what the methods say of themselves."""


def configured(
    method: AbstractMethod | str,
    transform: str | None = None,
    preset: str | None = None,
    similarity: Similarity | str | None = None,
    use_landmarks: bool = False,
) -> AbstractMethod:
    """`method` with what is given beside it put in its options.

    Raises:
        OptionError: something is given that the method has no option for, or an unknown value.
    """
    chosen = parse(method) if isinstance(method, str) else method
    if not isinstance(chosen, AbstractMethod) or not is_dataclass(chosen):
        raise OptionError(
            f"method must be the name of one, or one made like Linear(model='rigid'), found {method!r}."
        )
    if isinstance(similarity, str):
        similarity = build("similarity", similarity, known_similarities())
    check_value("similarity", similarity, Similarity | None)
    check_value("use_landmarks", use_landmarks, bool)
    names = {f.name for f in fields(chosen)}
    wanted = {"preset": preset, "similarity": similarity}
    changes = {name: value for name, value in wanted.items() if value is not None}
    for name, value in changes.items():
        if name not in names:
            raise OptionError(
                f"method {name_of(chosen)!r} has no option {name!r} (given: {value!r}). Leave it out, or choose "
                f"another method. Its options: {', '.join(sorted(names))}."
            )
    if transform is not None:
        changes |= _reaching(chosen, names, transform)
    if use_landmarks and not chosen.follows_landmarks:
        if "use_landmarks" not in names:
            raise OptionError(
                f"method {name_of(chosen)!r} goes by the images alone (it has no option 'use_landmarks'). "
                f"{_STEERED}. Leave --use-landmarks out, or take one of these."
            )
        changes["use_landmarks"] = True
    return replace(chosen, **changes)


def _reaching(chosen: AbstractMethod, names: set[str], transform: str) -> dict[str, Any]:
    """The option that makes `chosen` go as far as `transform`."""
    if "transform" in names:
        return {"transform": transform}
    if "model" in names and transform != "deformable":
        return {"model": transform}
    if isinstance(chosen, Bending) and transform == "deformable":
        return {}
    name = name_of(chosen)
    if isinstance(chosen, Bending):
        raise OptionError(
            f"method {name!r} always deforms, which is more than transform {transform!r}. Take linear, or auto."
        )
    raise OptionError(
        f"method {name!r} does not go as far as transform {transform!r}. Leave --transform out, or take a method that "
        "does: auto, deformable, bspline. What it has is told by 'coincide methods'."
    )


def check_steering(method: AbstractMethod, landmarks: bool, labels: bool) -> None:
    """Refuse to be steered by what is not there, or by what does not steer `method`.

    Args:
        method: as `configured` made it.
        landmarks: whether there are landmarks of both images.
        labels: whether there are labels of both.

    Raises:
        OptionError: with the methods that what there is would steer.
    """
    if not getattr(method, "use_landmarks", False):
        return
    given = {"landmarks": landmarks, "labels": labels}
    if not any(given.values()):
        raise OptionError(
            "use_landmarks needs something to steer by: landmarks of both images (--fixed-points and --moving-points), "
            "or for some methods labels of both (--fixed-labels and --moving-labels). Give them, or leave it out."
        )
    steers = method.steered_by
    if not any(given[kind] for kind in steers):
        there = " and ".join(kind for kind, found in given.items() if found)
        raise OptionError(
            f"{there} do not steer method {name_of(method)!r} as it is to run here. {_STEERED}. Leave --use-landmarks "
            "out, and they score, or take one of these."
        )


def check_lesions(method: AbstractMethod, given: bool) -> None:
    """Refuse lesions, where they are `given`, that `method` would not leave out.

    Raises:
        OptionError: it would not.
    """
    if given and not method.heeds_lesions:
        others = ", ".join(sorted(name for name, cls in available().items() if cls.heeds_lesions))
        raise OptionError(
            f"method {name_of(method)!r} does not leave lesions out. Take one of {others}; or mask them out with "
            "--fixed-mask and --moving-mask."
        )


def check_run(seed: Any, threads: Any, device: Any = "cpu") -> None:
    """Refuse a seed, a number of threads or the name of a device of a wrong type or value.

    Raises:
        OptionError: it is.
    """
    check_value("seed", seed, Whole)
    check_value("threads", threads, Count | None)
    check_value("device", device, str)


def name_of(method: AbstractMethod) -> str:
    """What users type for a method; the name of its class where it is none of ours."""
    cls = type(method)
    place = f"{cls.__module__}:{cls.__qualname__}"
    return next((name for name, known in METHODS.items() if known == place), cls.__name__.lower())
