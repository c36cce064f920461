"""`coincide methods`."""

from __future__ import annotations

import json

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
        console.out.print(f"[bold]{method['name']}[/]  {method['summary']}")
        for option in method["options"]:
            line = f"  {option['name']} = {option['default']}  ({option['type']})  {option['help']}"
            console.out.print(line, style="dim", markup=False)
    return 0
