"""Files: one module per format, chosen by the suffix. RAS+ mm inside, whatever the file's own convention."""

from coincide.io.atomic import whole_file, whole_folder
from coincide.io.images import as_image, as_mask, read_image, write_image
from coincide.io.notes import InputNote, InputWarning
from coincide.io.points import read_points, write_points
from coincide.io.transforms import read_transform, write_transform

__all__ = [
    "InputNote",
    "InputWarning",
    "as_image",
    "as_mask",
    "read_image",
    "read_points",
    "read_transform",
    "whole_file",
    "whole_folder",
    "write_image",
    "write_points",
    "write_transform",
]
