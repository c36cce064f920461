"""What the commands' options are called, and what their help says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

_SEARCH, _AIDS, _RUN = "What to look for", "Masks, labels and landmarks", "How to run"

Fixed = Annotated[Path, Argument(metavar="FIXED", help="The image that stays.")]
Moving = Annotated[Path, Argument(metavar="MOVING", help="The image that is warped onto it.")]
OutFolder = Annotated[Path, Option("--out", metavar="DIR", help="Folder for the results.")]

Reach = Annotated[
    str | None,
    Option(
        metavar="T",
        help="How far to go: translation (not auto), rigid, similarity, affine or deformable (which auto takes).",
        rich_help_panel=_SEARCH,
    ),
]
Method = Annotated[
    str,
    Option(
        metavar="SPEC", help="name or name:option=value,…; see 'coincide methods'.", rich_help_panel=_SEARCH
    ),
]
Preset = Annotated[
    str | None,
    Option(metavar="P", help="Time against accuracy: fast, default or accurate.", rich_help_panel=_SEARCH),
]
Similarity = Annotated[
    str | None,
    Option(
        metavar="S", help="What to compare by; decided from the images if left out.", rich_help_panel=_SEARCH
    ),
]
Initial = Annotated[
    Path | None, Option(metavar="T", help="Transform to start from.", rich_help_panel=_SEARCH)
]

FixedMask = Annotated[
    Path | None, Option(metavar="M", help="Voxels of FIXED that count.", rich_help_panel=_AIDS)
]
MovingMask = Annotated[
    Path | None, Option(metavar="M", help="Voxels of MOVING that count.", rich_help_panel=_AIDS)
]
FixedLesion = Annotated[
    Path | None,
    Option(
        metavar="M",
        help="Voxels of FIXED without a counterpart in MOVING, such as a tumour's: not compared, carried along.",
        rich_help_panel=_AIDS,
    ),
]
MovingLesion = Annotated[
    Path | None, Option(metavar="M", help="Voxels of MOVING, likewise.", rich_help_panel=_AIDS)
]
FixedLabels = Annotated[
    Path | None, Option(metavar="L", help="Label map of FIXED, to score with.", rich_help_panel=_AIDS)
]
MovingLabels = Annotated[
    Path | None, Option(metavar="L", help="Label map of MOVING, carried onto FIXED.", rich_help_panel=_AIDS)
]
FixedPoints = Annotated[
    Path | None,
    Option(metavar="P", help="Landmarks on FIXED: CSV name,x,y[,z], world mm.", rich_help_panel=_AIDS),
]
MovingPoints = Annotated[
    Path | None,
    Option(metavar="P", help="The same landmarks on MOVING; they correspond by name.", rich_help_panel=_AIDS),
]
UseLandmarks = Annotated[
    bool,
    Option(
        "--use-landmarks",
        help="Let landmarks steer a deformation, not only score (with icp, cpd, boundary or regions: labels).",
        rich_help_panel=_AIDS,
    ),
]

TimeIndex = Annotated[
    int | None,
    Option(metavar="N", help="Which volume, from 0, of a 4-D image; not for others.", rich_help_panel=_RUN),
]
Threads = Annotated[
    int | None, Option(metavar="N", min=1, help="Threads; all cores if left out.", rich_help_panel=_RUN)
]
Seed = Annotated[int, Option(metavar="N", min=0, help="Seed of the randomness.", rich_help_panel=_RUN)]
Device = Annotated[str, Option(metavar="D", help="cpu, cuda, cuda:1, …", rich_help_panel=_RUN)]

TransformFile = Annotated[
    Path, Option("--transform", metavar="T", help="Transform file: fixed world → moving world.")
]
OutFile = Annotated[Path, Option("--out", metavar="Y", help="File to write.")]
AsJson = Annotated[bool, Option("--json", help="Print JSON.")]
