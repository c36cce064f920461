"""The command line: `coincide COMMAND`. Heavy libraries are imported by the commands that use them."""

from coincide.cli.run import main

__all__ = ["main"]
