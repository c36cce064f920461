"""Run the command line, and turn what happens into an exit code."""

from __future__ import annotations

import errno
import gc
import signal
import sys
import traceback
from collections.abc import Sequence

import typer

from coincide.cli import console
from coincide.cli.app import app
from coincide.errors import CoincideError, ResourceError

_SELDOM = 1_000_000
"""New objects after which Python looks for garbage."""
USAGE, BAD_INPUT, RESOURCES, INTERNAL, INTERRUPTED = 2, 3, 5, 6, 130

# typer carries its own copy of click or uses the installed one, by version; this is the class either raises.
_UsageError = typer.BadParameter.__mro__[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Run `coincide` with `argv` (those of the process where left out) and return the exit code.

    0 fine, 2 usage, 3 bad input, 4 ran but judged failed, 5 out of memory or time, 6 internal,
    130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    if argv is None:
        signal.signal(signal.SIGTERM, _terminate)
    console.show_python_warnings()
    usual = gc.get_threshold()
    # a sixth of the imports' time goes into looking for garbage that imports do not make
    gc.set_threshold(_SELDOM, *usual[1:])
    try:
        if "" in arguments:
            # a path that is empty would be the folder one stands in
            console.error(
                f"an argument is empty, after {arguments[arguments.index('') - 1]!r}. See coincide --help."
            )
            return USAGE
        # --debug may stand anywhere, as people add it to the end of a line that failed.
        rest = [a for a in arguments if a != "--debug"]
        code = app(args=rest, prog_name="coincide", standalone_mode=False, obj=["coincide", *arguments]) or 0
        sys.stdout.flush()
        # typer turns Ctrl-C into this code without a word.
        return _code(KeyboardInterrupt()) if code == INTERRUPTED else code
    except BaseException as problem:
        if debug and not isinstance(problem, SystemExit):
            traceback.print_exc()
        return _code(problem)
    finally:
        gc.set_threshold(*usual)


def _code(problem: BaseException) -> int:
    if isinstance(problem, SystemExit):
        return problem.code if isinstance(problem.code, int) else 1
    if isinstance(problem, _UsageError):
        return _usage(problem)
    if isinstance(problem, CoincideError):
        console.error(str(problem))
        return problem.exit_code
    if isinstance(problem, BrokenPipeError):
        # whoever read along, such as head, has had enough
        console.hush(sys.stdout)
        return 0
    if isinstance(problem, KeyboardInterrupt | typer.Abort):
        console.error("interrupted.")
        return INTERRUPTED
    if _is_out_of_memory(problem):
        console.error(
            f"out of memory ({problem}). Use --preset fast, crop the images, or resample them coarser."
        )
        return ResourceError.exit_code
    if isinstance(problem, OSError) and problem.errno in (
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
    ):
        console.error(f"cannot write: {problem}. Free some room, or name another --out.")
        return BAD_INPUT
    console.error(
        f"internal: {type(problem).__name__}: {problem}. This is a bug in coincide; run again with --debug "
        "and report what it prints."
    )
    return INTERNAL


def _usage(problem: BaseException) -> int:
    near = getattr(problem, "possibilities", None)
    if near:
        message = f"{getattr(problem, 'message', problem)}. Did you mean {' or '.join(near)}?"
    else:
        message = getattr(problem, "format_message", problem.__str__)()
        message += "" if message.endswith((".", "?")) else "."
    command = getattr(getattr(problem, "ctx", None), "command_path", "coincide")
    console.error(f"{message} See {command} --help.")
    return USAGE


def _is_out_of_memory(problem: BaseException) -> bool:
    text = str(problem).lower()
    said = "not enough memory" in text or "out of memory" in text or "can't allocate memory" in text
    return isinstance(problem, MemoryError) or (isinstance(problem, RuntimeError) and said)


def _terminate(number: int, frame: object) -> None:  # noqa: ARG001 - the signal handler's signature
    # Raised rather than died of, so that files half-way to their place are cleaned away.
    raise SystemExit(128 + number)
