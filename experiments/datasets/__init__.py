"""Image data sets: loading with verified checksums, a catalogue, and division over clients."""

from experiments.datasets.catalogue_entry import CatalogueEntry, FileStatus
from experiments.datasets.image_data import DatasetCorrupt, DatasetMissing, ImageData
from experiments.datasets.partition import partition
from experiments.datasets.registry import ImageSource, catalogue, image_names, load_images, register

__all__ = [
    "CatalogueEntry",
    "DatasetCorrupt",
    "DatasetMissing",
    "FileStatus",
    "ImageData",
    "ImageSource",
    "catalogue",
    "image_names",
    "load_images",
    "partition",
    "register",
]
