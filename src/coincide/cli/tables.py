"""Results as text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

_COLOURS = {"converged": "green", "suspicious": "yellow", "failed": "red"}


def verdict_text(verdict: Any) -> Text:
    """A `Verdict` as coloured text: level and sentence, then a line for each reason."""
    text = Text()
    text.append(verdict.level, style=f"bold {_COLOURS[verdict.level]}")
    text.append(f": {verdict.sentence}")
    for reason in verdict.reasons:
        text.append(f"\n  · {reason}")
    return text


def measures_table(measures: Mapping[str, Any]) -> Table:
    """The measures of a `Registration`: what has a value before and after side by side, the rest below."""
    table = Table(box=None, pad_edge=False)
    table.add_column("measure")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    before, after = measures.get("before", {}), measures.get("after", {})
    for name in after:
        table.add_row(name, as_number(before.get(name)), as_number(after[name]))
    for section, values in measures.items():
        if section in ("before", "after") or not isinstance(values, Mapping):
            continue
        if "after" in values:
            start = values.get("before", {})
            for name, value in values["after"].items():
                if not isinstance(value, Mapping | list):
                    table.add_row(f"{section} {name}", as_number(start.get(name)), as_number(value))
        for name, value in values.items():
            if name not in ("before", "after") and not isinstance(value, Mapping | list):
                table.add_row(f"{section} {name}", "", as_number(value))
    return table


def as_number(value: Any) -> str:
    """A number with four significant digits; text as it is; nothing for None."""
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def per_label_table(per_label: Mapping[Any, Mapping[str, Any]]) -> Table:
    """The measures of each label, a row each."""
    table = Table(box=None, pad_edge=False)
    table.add_column("label", justify="right")
    columns = list(next(iter(per_label.values())))
    for column in columns:
        table.add_column(column, justify="right")
    for label, values in per_label.items():
        table.add_row(str(label), *(as_number(values[column]) for column in columns))
    return table
