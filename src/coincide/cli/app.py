"""The commands by name."""

from __future__ import annotations

from typing import Annotated

import typer

from coincide import __version__
from coincide.cli.apply import apply
from coincide.cli.data import inspect_data, synthesise
from coincide.cli.demo import demo
from coincide.cli.evaluate import evaluate
from coincide.cli.features import features
from coincide.cli.label import label
from coincide.cli.measure import measure
from coincide.cli.methods import methods
from coincide.cli.points import points
from coincide.cli.preprocess import preprocess
from coincide.cli.quality import quality
from coincide.cli.rate import rate
from coincide.cli.register import register
from coincide.cli.series import series
from coincide.cli.train import finetune, train
from coincide.cli.transforms import compose, convert, invert
from coincide.cli.tune import tune

app = typer.Typer(
    help="Register medical images: fast on a CPU, accurate, and honest about failure.",
    epilog="Exit codes: 0 fine · 2 usage · 3 bad input · 4 ran but judged failed · 5 out of memory or time · "
    "6 internal · 130 interrupted.",
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

for command in (
    register,
    series,
    apply,
    points,
    convert,
    invert,
    compose,
    methods,
    measure,
    preprocess,
    features,
    quality,
    rate,
    label,
    train,
    finetune,
    tune,
    evaluate,
    synthesise,
    inspect_data,
    demo,
):
    app.command()(command)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"coincide {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Print the traceback of an error. May stand anywhere.")
    ] = False,
) -> None:
    pass
