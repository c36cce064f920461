"""What the made-up anatomies consist of: every label has a name and a tissue, which decides how bright it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Structure:
    """A part of an anatomy.

    Args:
        label: its number in label maps.
        name: what it is called, with `left` or `right` first where there are two.
        tissue: what it is made of; structures of one tissue look alike in one image.
    """

    label: int
    name: str
    tissue: str


# label, name, tissue; the paired ones take two labels each, left then right
_MIDLINE = (
    (1, "skin", "skin"),
    (2, "fat", "fat"),
    (3, "muscle", "muscle"),
    (4, "bone", "bone"),
    (5, "marrow", "marrow"),
    (6, "air", "air"),
    (7, "fluid", "fluid"),
    (8, "blood", "blood"),
    (9, "cartilage", "cartilage"),
    (10, "soft tissue", "soft"),
    (20, "cerebrospinal fluid", "fluid"),
    (21, "third ventricle", "fluid"),
    (22, "fourth ventricle", "fluid"),
    (23, "brain stem", "white"),
    (25, "corpus callosum", "white"),
    (27, "lesion", "lesion"),
    (28, "core of the lesion", "fluid"),
    (29, "spinal cord", "white"),
    (30, "rim of the tumour", "rim"),
    (31, "necrosis of the tumour", "necrosis"),
    (32, "oedema", "oedema"),
    (100, "heart", "muscle"),
    (101, "heart chambers", "blood"),
    (102, "aorta", "blood"),
    (103, "vena cava", "blood"),
    (104, "liver", "liver"),
    (105, "liver vessels", "blood"),
    (106, "spleen", "spleen"),
    (107, "stomach", "bowel"),
    (108, "pancreas", "gland"),
    (109, "bowel", "bowel"),
    (110, "bladder", "fluid"),
    (111, "vertebrae", "bone"),
    (112, "discs", "cartilage"),
    (113, "gall bladder", "fluid"),
    (114, "trachea", "air"),
    (115, "content of the bowel", "soft"),
    (116, "sternum", "bone"),
    (200, "radius", "bone"),
    (201, "ulna", "bone"),
    *((202 + n, f"carpal {n + 1}", "bone") for n in range(8)),
    *((210 + n, f"metacarpal {n + 1}", "bone") for n in range(5)),
    *((215 + n, f"proximal phalanx {n + 1}", "bone") for n in range(5)),
    *((220 + n, f"middle phalanx {n + 1}", "bone") for n in range(5)),
    *((225 + n, f"distal phalanx {n + 1}", "bone") for n in range(5)),
    (300, "femur", "bone"),
    (301, "tibia", "bone"),
    (302, "fibula", "bone"),
    (303, "patella", "bone"),
)
_PAIRED = (
    (40, "cerebral cortex", "grey"),
    (42, "cerebral white matter", "white"),
    (44, "lateral ventricle", "fluid"),
    (46, "caudate", "deep grey"),
    (48, "putamen", "deep grey"),
    (50, "pallidum", "pallidum"),
    (52, "thalamus", "deep grey"),
    (54, "hippocampus", "grey"),
    (56, "amygdala", "grey"),
    (58, "cerebellar cortex", "grey"),
    (60, "cerebellar white matter", "white"),
    (62, "eye", "fluid"),
    (64, "lens", "cartilage"),
    (66, "choroid plexus", "blood"),
    (120, "lung", "lung"),
    (122, "lung vessels", "blood"),
    (124, "kidney", "kidney"),
    (126, "renal medulla", "medulla"),
    (128, "renal pelvis", "fluid"),
    (130, "adrenal gland", "gland"),
    (132, "ribs", "bone"),
    (134, "hip bone", "bone"),
)

STRUCTURES: dict[str, Structure] = {
    s.name: s
    for s in (
        *(Structure(*row) for row in _MIDLINE),
        *(
            Structure(label + side, f"{('left', 'right')[side]} {name}", tissue)
            for label, name, tissue in _PAIRED
            for side in (0, 1)
        ),
    )
}
"""Every structure by its name."""

LATER = ("necrosis", "oedema", "rim")
"""What tumours consist of. It comes after the other tissues, and is drawn after them, so that pictures without a tumour
are what they were before there were any."""

TUMOUR_LABELS = tuple(
    STRUCTURES[name].label for name in ("rim of the tumour", "necrosis of the tumour", "oedema")
)
"""Rim, necrosis and oedema, in the order of `tumour.RIM` and what follows it."""

TISSUES = (*sorted({s.tissue for s in STRUCTURES.values()} - set(LATER)), *LATER)
"""Every kind of matter."""

LAST = 1000
"""Labels from here on have no anatomy: shapes made of noise, and what label maps from files hold."""


def tissue_numbers() -> np.ndarray:
    """The number of the tissue (its place in `TISSUES`, from 1) of every label below `LAST`; 0 where there is none."""
    table = np.zeros(LAST, np.int64)
    for structure in STRUCTURES.values():
        table[structure.label] = TISSUES.index(structure.tissue) + 1
    return table


def in_brain() -> np.ndarray:
    """Whether every label below `LAST` is a part of the brain, or of the fluid in and around it."""
    table = np.zeros(LAST, np.bool_)
    table[[20, 21, 22, 23, 25, 27, 28, *TUMOUR_LABELS, *range(40, 62), 66, 67]] = True
    return table
