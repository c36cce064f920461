"""`coincide methods`."""

from __future__ import annotations

import json
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from coincide.cli import arguments as a
from coincide.cli import console


def methods(as_json: a.AsJson = False) -> int:
    """List every method: its name, what it can do, its options and their defaults."""
    from coincide.methods.registry import description, similarities

    known = description()
    if as_json:
        print(json.dumps(known, indent=2, ensure_ascii=False))
        return 0
    list_options(known)
    console.out.print(
        "[bold]Similarities[/], for --similarity and for options: name or name:option=value,…\n"
    )
    list_options(similarities())
    return 0


def list_options(known: list[dict[str, Any]]) -> None:
    """Print what can be chosen by name: each with its summary and its options."""
    for method in known:
        console.out.print(f"[bold]{method['name']}[/]  {escape(method['summary'])}")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("  option", "default", "values", ""):
            table.add_column(column, header_style="dim", overflow="fold")
        for option in method["options"]:
            values = ", ".join(filter(None, (option["type"], option["range"])))
            cells = (f"  {option['name']}", _plain(option["default"]), values, option["help"])
            table.add_row(*(Text(cell.replace("`", "")) for cell in cells))
        if method["options"]:
            console.out.print(table)
        console.out.print()


def _plain(default: Any) -> str:
    return str(default).lower() if default is None or isinstance(default, bool) else str(default)
