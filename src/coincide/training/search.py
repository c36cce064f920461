"""Searching recipes for the one that trains best; what was tried is kept on disk, and a search that stopped goes on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from coincide.errors import MissingPackageError, OptionError, OutputError
from coincide.training.loop import DivergedError, Machine, train
from coincide.training.parse import filled
from coincide.training.recipe import Recipe

Sampler = Literal["tpe", "random", "grid"]


@dataclass(frozen=True)
class Span:
    """What a key of a recipe may be.

    Args:
        values: one of these; or else
        low: the least,
        high: and the most,
        logarithmic: drawn evenly in the logarithm,
        whole: numbers without fractions.

    Raises:
        OptionError: neither values nor two numbers in order.
    """

    values: tuple[Any, ...] = ()
    low: float = math.nan
    high: float = math.nan
    logarithmic: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        if self.values:
            return
        least = 0.0 if self.logarithmic else -math.inf
        if not (least <= self.low < self.high < math.inf) or (self.logarithmic and self.low == 0):
            raise OptionError(
                f"a span of the search has low {self.low} and high {self.high}; expected values, or two finite numbers "
                "in order, above 0 if logarithmic."
            )

    def ask(self, trial: Any, key: str) -> Any:
        """What an Optuna trial says of `key`."""
        if self.values:
            return trial.suggest_categorical(key, list(self.values))
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.logarithmic)
        return trial.suggest_float(key, self.low, self.high, log=self.logarithmic)


@dataclass(frozen=True)
class Trial:
    """A recipe that was tried: what it differs by, its score (lower is better), and its folder."""

    changes: Mapping[str, Any]
    score: float
    folder: str


def spans(tables: Mapping[str, Any]) -> dict[str, Span]:
    """The spans in a recipe's table `search`, by the dotted keys they are for; a list stands for its values.

    Raises:
        OptionError: a table that is none.
    """
    found = {}
    for key, table in tables.items():
        given = {"values": table} if isinstance(table, list) else table
        if not isinstance(given, Mapping):
            raise OptionError(f"search, {key!r}: expected a list of values or a table, found {table!r}.")
        given = {**given, "values": tuple(given.get("values", ()))}
        if set(given) - set(Span.__dataclass_fields__):
            raise OptionError(
                f"search, {key!r}: expected {', '.join(Span.__dataclass_fields__)}, found {', '.join(given)}."
            )
        found[key] = Span(**given)
    if not found:
        raise OptionError("the recipe has no table [search]: there is nothing to be tried.")
    return found


def search(
    tables: Mapping[str, Any],
    folder: Path,
    trials: int,
    sampler: Sampler = "tpe",
    machine: Machine = Machine(),  # noqa: B008 - frozen
    notify: Callable[[int, Trial], None] = lambda number, trial: None,
) -> list[Trial]:
    """Train by recipes that differ as the table `search` says, each in a folder of its own; the best one first.

    Args:
        tables: a recipe's, with `search` beside its own keys.
        folder: for all of it; a search in it goes on, and a trial that was stopped from its checkpoint.
        trials: how many there are to be in the end; a grid has no more than it has places.
        sampler: `"tpe"`, which learns from trial to trial, `"random"`, or `"grid"` of spans that name values.
        machine: what to compute with.
        notify: told of every trial when it ends.

    A recipe whose loss stops being a number is left out of what is found.

    Raises:
        OptionError: spans that will not do, recipes that do not, or none that came to its end.
        MissingPackageError: Optuna is not installed.
        OutputError: something cannot be written.
    """
    asked = spans(tables.get("search", {}))
    base = {key: value for key, value in tables.items() if key != "search"}
    study = _study(folder, asked, sampler, int(base.get("seed", 0)))
    optuna = _optuna()
    done = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    _try_again(study, optuna.trial.TrialState)

    def objective(trial: Any) -> float:
        changes = {key: span.ask(trial, key) for key, span in asked.items()}
        try:
            tried = _try(base, changes, folder, machine)
        except DivergedError as error:
            raise optuna.TrialPruned from error
        trial.set_user_attr("folder", tried.folder)
        notify(trial.number, tried)
        return tried.score

    if len(done) < trials:
        study.optimize(objective, n_trials=trials - len(done))
    ended = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    found = [Trial(dict(t.params), float(t.value), t.user_attrs["folder"]) for t in ended]
    if not found:
        raise OptionError(
            "no recipe that was tried came to its end: every loss stopped being a number. Lower the rates."
        )
    return sorted(found, key=lambda trial: trial.score)


def _try_again(study: Any, states: Any) -> None:
    """Ask once more for what was stopped in any way: it goes on from its own checkpoint."""
    known = [t.params for t in study.trials if t.state in (states.COMPLETE, states.PRUNED)]
    for left in study.trials:
        if left.state == states.RUNNING:
            study.tell(left.number, state=states.FAIL)
        if left.state in (states.RUNNING, states.FAIL) and left.params and left.params not in known:
            study.enqueue_trial(left.params)
            known.append(left.params)


def _try(base: Mapping[str, Any], changes: Mapping[str, Any], folder: Path, machine: Machine) -> Trial:
    recipe = filled(Recipe, changed(base, changes), "the recipe")
    # the same recipe has the same folder, whoever asks for it
    name = hashlib.sha256(repr(asdict(recipe)).encode()).hexdigest()[:12]
    found = train(recipe, folder / name, resume=True, machine=machine)
    return Trial(changes, float(found["best"]["score"]), name)


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a recipe with the values at dotted keys (`"optimiser.rate"`) put in their places.

    Raises:
        OptionError: a key that leads into what is no table.
    """
    found = dict(base)
    for key, value in changes.items():
        first, _, rest = key.partition(".")
        if rest:
            inner = found.get(first, {})
            if not isinstance(inner, Mapping):
                raise OptionError(f"search: {key!r} leads into {first!r}, which is no table.")
            found[first] = changed(inner, {rest: value})
        else:
            found[first] = value
    return found


def _study(folder: Path, asked: Mapping[str, Span], sampler: Sampler, seed: int) -> Any:
    optuna = _optuna()
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    try:
        folder.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(folder / "study.log")))
        study = optuna.create_study(storage=storage, study_name="search", load_if_exists=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}). Give another folder.") from error
    # a sampler that goes on must not draw again what it drew at first
    seed += len(study.trials)
    if sampler == "grid":
        if not all(span.values for span in asked.values()):
            raise OptionError("a grid needs the values of every span of the search; some have low and high.")
        places = {key: list(span.values) for key, span in asked.items()}
        study.sampler = optuna.samplers.GridSampler(places, seed=0)
    elif sampler == "random":
        study.sampler = optuna.samplers.RandomSampler(seed=seed)
    else:
        study.sampler = optuna.samplers.TPESampler(seed=seed)
    return study


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingPackageError(
            f"a search needs the package optuna, which is not installed ({error}). Run: pip install 'coincide[train]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
