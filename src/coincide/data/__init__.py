"""Data to learn from: data sets of files, their preparation and augmentation, and synthesis where there are none."""

from coincide.data.augmentation import Augmentation, augmented
from coincide.data.cases import Case, CasePair, DataSet
from coincide.data.inspection import Inspection, Look, inspect
from coincide.data.preparation import Preparation, Prepared, prepare
from coincide.data.prepared import PreparedPairs
from coincide.data.problems import DataSetError, Problem
from coincide.data.sources import from_bids, from_csv, from_folder, read_data_set
from coincide.data.split import Split, read_split, split, write_split
from coincide.data.tensors import tensors

__all__ = [
    "Augmentation",
    "Case",
    "CasePair",
    "DataSet",
    "DataSetError",
    "Inspection",
    "Look",
    "Preparation",
    "Prepared",
    "PreparedPairs",
    "Problem",
    "Split",
    "augmented",
    "from_bids",
    "from_csv",
    "from_folder",
    "inspect",
    "prepare",
    "read_data_set",
    "read_split",
    "split",
    "tensors",
    "write_split",
]
