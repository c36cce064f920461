"""`coincide preprocess`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coincide.cli import arguments as a
from coincide.cli import console

if TYPE_CHECKING:
    from coincide.image import Image
    from coincide.preprocess.pipeline import Pipeline, Processed

_File = Path | None
Steps = Annotated[
    str | None,
    typer.Option(metavar="S", help="Steps in their order: 'n4 | nlm:strength=0.8 | resample:spacing=1'."),
]


def preprocess(
    image: Annotated[_File, typer.Argument(metavar="IMAGE", help="The image.", show_default=False)] = None,
    out: Annotated[
        _File, typer.Option(metavar="Y", help="File to write; its record goes beside it, ….json.")
    ] = None,
    steps: Steps = None,
    recipe: Annotated[
        _File, typer.Option(metavar="TOML", help="A file that lists the steps instead.")
    ] = None,
    mask: Annotated[
        _File, typer.Option(metavar="M", help="Voxels that count; the others stay as they are.")
    ] = None,
    labels: Annotated[
        _File, typer.Option(metavar="L", help="Label map that goes where the image goes.")
    ] = None,
    out_mask: Annotated[_File, typer.Option(metavar="M", help="File for the mask afterwards.")] = None,
    out_labels: Annotated[_File, typer.Option(metavar="L", help="File for the labels afterwards.")] = None,
    undo: Annotated[
        _File,
        typer.Option(
            metavar="JSON", help="Record of an earlier run, whose geometry is to be undone on IMAGE."
        ),
    ] = None,
    time_index: a.TimeIndex = None,
    interp: Annotated[
        str, typer.Option(metavar="auto|linear|label", help="What --undo takes IMAGE for; auto looks at it.")
    ] = "auto",
    list_steps: Annotated[
        bool, typer.Option("--list", help="List the steps with their options and units.")
    ] = False,
) -> int:
    """Process an image by steps, with its mask and its labels, and record what was done.

    With --undo, lay IMAGE (labels found on a processed image, for one) on the grid that the record's image had.
    """
    if list_steps:
        from coincide.cli.methods import list_options
        from coincide.preprocess.pipeline import description

        list_options(description())
        return 0
    if image is None or out is None:
        raise typer.BadParameter("expected IMAGE and --out; or --list.")
    if [steps, recipe, undo].count(None) != 2:
        raise typer.BadParameter("expected one of --steps, --recipe and --undo.")
    if undo is not None and any(path is not None for path in (mask, labels, out_mask, out_labels)):
        raise typer.BadParameter("--undo takes IMAGE and --out alone; undo masks and labels one by one.")
    if undo is None and interp != "auto":
        raise typer.BadParameter("--interp goes with --undo; steps have options of their own.")
    if undo is not None:
        return _undo(image, undo, out, time_index, interp)
    pipeline = _chosen(steps, recipe)
    _check(pipeline, [image, mask, labels], out, out_mask, out_labels, labels is not None)
    done = _run(pipeline, image, mask, labels, time_index)
    if done.lost:
        console.warn(
            f"no voxel is left of label {', '.join(map(str, done.lost))}: too thin for the new grid, or cut away."
        )
    _write(done, out, out_mask, out_labels, _inputs(pipeline, image, mask, labels))
    console.out.print(f"{out}: {' | '.join(step.name for step in pipeline.steps)}, {done.image.grid!r}")
    return 0


def _chosen(steps: str | None, recipe: Path | None) -> Pipeline:
    from coincide.preprocess.pipeline import parse

    return parse(steps) if recipe is None else read_recipe(recipe)  # type: ignore[arg-type] - one of them is there


def read_recipe(path: Path) -> Pipeline:
    """The pipeline in a TOML file: a table `[[step]]` for each step, with its `name` and its options.

    Raises:
        InputError: the file, a name, an option or a value will not do.
    """
    from coincide.errors import OptionError
    from coincide.preprocess.pipeline import Pipeline
    from coincide.training.parse import read_tables

    found = read_tables(path)
    if set(found) != {"step"} or not isinstance(found["step"], list):
        raise OptionError(
            f"{path}: expected tables [[step]] and nothing else, found {', '.join(found) or 'nothing'}."
        )
    return Pipeline(tuple(_step(dict(table), path.name) for table in found["step"]))


def _step(table: dict[str, Any], where: str) -> Any:
    from coincide.errors import OptionError, unknown
    from coincide.options.places import Places
    from coincide.preprocess import STEPS
    from coincide.training.parse import filled

    name = table.pop("name", None)
    if name is None:
        raise OptionError(f"{where}: a [[step]] has no name. Known: {', '.join(sorted(STEPS))}.")
    if name not in STEPS:
        raise unknown("step", str(name), STEPS, f"in {where}")
    return filled(Places(STEPS)[name], table, f"step {name} of {where}")


def _check(
    pipeline: Pipeline, inputs: list[_File], out: Path, out_mask: _File, out_labels: _File, has_labels: bool
) -> None:
    """Refuse, before any work, what could not be written or would overwrite what is read."""
    from coincide.errors import OutputError
    from coincide.io.images import check_suffix

    if out_labels is not None and not has_labels:
        raise typer.BadParameter("--out-labels needs --labels.")
    targets = [path for path in (out, out_mask, out_labels, record_path(out)) if path is not None]
    taken = {path.resolve() for path in (*inputs, *map(Path, pipeline.references)) if path is not None}
    for path in targets[:-1]:
        check_suffix(path)
    for number, path in enumerate(targets):
        if path.resolve() in taken:
            raise OutputError(
                f"{path}: would overwrite what is read or written beside it. Name another file."
            )
        taken.add(path.resolve())
        if path == record_path(out) and path.exists() and not _is_record(path):
            raise OutputError(
                f"{path}: the record of {out.name} would overwrite this file, which is no record. Take another name."
            )
        if not path.parent.is_dir():
            raise OutputError(f"{path}: there is no folder {path.parent}. Make it first.")
        if path.parent.resolve() != out.parent.resolve() and number:
            raise OutputError(
                f"{path}: expected a file in {out.parent}, so that all appear together or not at all."
            )


def _is_record(path: Path) -> bool:
    """Whether a record written before may be replaced; the sidecar of a scan may not."""
    from coincide.errors import InputError

    try:
        read_record(path)
    except InputError:
        return False
    return True


def record_path(out: Path) -> Path:
    """Where the record of an image goes: beside it, `.json` in the place of its suffix."""
    name = out.name.removesuffix(".gz")
    return out.with_name(name[: len(name) - len(Path(name).suffix)] + ".json")


def _run(pipeline: Pipeline, image: Path, mask: _File, labels: _File, time_index: int | None) -> Processed:
    from coincide.api import open_image
    from coincide.cli.opening import open_images

    [opened] = open_images(image, mask=mask, time_index=time_index)
    carried = None if labels is None else open_image(labels, kind="label")
    aids = {name: open_image(Path(name)) for name in pipeline.references}
    number = len(pipeline.steps)
    return pipeline(
        opened, carried, aids, told=lambda k, step: console.note(f"step {k + 1} of {number}: {step.name}")
    )


def _inputs(pipeline: Pipeline, image: Path, mask: _File, labels: _File) -> dict[str, Any]:
    from coincide.checksum import describe_file

    given = {
        "image": image,
        "mask": mask,
        "labels": labels,
        **{f"reference {p}": Path(p) for p in pipeline.references},
    }
    return {role: describe_file(path) for role, path in given.items() if path is not None}


def _write(done: Processed, out: Path, out_mask: _File, out_labels: _File, inputs: dict[str, Any]) -> None:
    """Write image, mask, labels and record: all of them or none. The record holds no date: a run again is the same."""
    import torch

    from coincide import __version__
    from coincide.image import Image
    from coincide.io import write_image
    from coincide.io.atomic import whole_folder
    from coincide.results import as_plain

    image = done.image
    with whole_folder(out.parent) as scratch:
        write_image(image.with_mask(None), scratch / out.name)
        if out_mask is not None:
            mask = torch.ones(image.grid.shape) if image.mask is None else image.mask
            write_image(Image(mask.to(torch.uint8), image.grid, "label"), scratch / out_mask.name)
        if out_labels is not None and done.labels is not None:
            write_image(done.labels, scratch / out_labels.name)
        record = {"coincide": __version__, "inputs": inputs, **done.record}
        text = json.dumps(as_plain(record), indent=2, allow_nan=False)
        (scratch / record_path(out).name).write_text(text + "\n", encoding="utf-8")


def _undo(image: Path, record: Path, out: Path, time_index: int | None, interp: str) -> int:
    from coincide.cli.apply import open_for
    from coincide.errors import OutputError, unknown
    from coincide.io import write_image
    from coincide.io.images import check_suffix, check_time_index
    from coincide.preprocess.pipeline import undo

    if out.resolve() in (image.resolve(), record.resolve()):
        raise OutputError(f"{out}: would overwrite what --undo reads. Name another file.")
    if interp not in ("auto", "linear", "label"):
        raise unknown("value of --interp", interp, ("auto", "linear", "label"))
    check_suffix(out)
    pipeline, grids = read_record(record)
    check_time_index(time_index, image)
    found: Image = open_for(image, interp, time_index)
    write_image(undo(pipeline, grids, found), out)
    console.out.print(f"{out}: {image.name} on the grid before {' | '.join(s.name for s in pipeline.steps)}")
    return 0


def read_record(path: Path) -> tuple[Pipeline, list[Any]]:
    """The pipeline in a record, and the grid of the image before each of its steps.

    Raises:
        MissingFileError: there is no such file.
        UnreadableFileError: it is no record.
    """
    from coincide.errors import MissingFileError, UnreadableFileError
    from coincide.grid import Grid
    from coincide.preprocess.pipeline import Pipeline

    try:
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"]
        tables = [
            {"name": s["step"]} | {k: v for k, v in s["options"].items() if v is not None} for s in steps
        ]
        grids = [Grid(tuple(s["before"]["shape"]), s["before"]["affine"]) for s in steps]
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: there is no such record.") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UnreadableFileError(
            f"{path}: is no record of coincide preprocess ({type(error).__name__}: {error}). Name the .json beside the "
            "image it wrote."
        ) from error
    return Pipeline(tuple(_step(table, path.name) for table in tables)), grids
