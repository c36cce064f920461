"""`coincide methods`."""

from __future__ import annotations

import json

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from coincide.cli import arguments as a
from coincide.cli import console


def methods(as_json: a.AsJson = False) -> int:
    """List every method: its name, what it can do, its options and their defaults."""
    from coincide.methods import description

    known = description()
    if as_json:
        print(json.dumps(known, indent=2, ensure_ascii=False))
        return 0
    for method in known:
        console.out.print(f"[bold]{method['name']}[/]  {escape(method['summary'])}")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for column in ("  option", "default", "values", ""):
            table.add_column(column, header_style="dim", overflow="fold")
        for option in method["options"]:
            cells = (f"  {option['name']}", str(option["default"]), option["type"], option["help"])
            table.add_row(*(Text(cell.replace("`", "")) for cell in cells))
        console.out.print(table)
        console.out.print()
    return 0
