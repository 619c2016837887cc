"""Data sets: loading with verified checksums, a catalogue, and division over clients."""

from experiments.datasets.catalogue_entry import CatalogueEntry, FileStatus
from experiments.datasets.errors import DatasetCorrupt, DatasetMissing
from experiments.datasets.image_data import ImageData
from experiments.datasets.own_texts import OwnTexts, read_texts
from experiments.datasets.partition import division_words, largest_owners, partition
from experiments.datasets.posts import Posts
from experiments.datasets.registry import (
    Source,
    catalogue,
    image_names,
    load_images,
    load_posts,
    post_names,
    register,
    register_posts,
)
from experiments.datasets.user_split import UserSplit, split_users, write_split

__all__ = [
    "CatalogueEntry",
    "DatasetCorrupt",
    "DatasetMissing",
    "FileStatus",
    "ImageData",
    "OwnTexts",
    "Posts",
    "Source",
    "UserSplit",
    "catalogue",
    "division_words",
    "image_names",
    "largest_owners",
    "load_images",
    "load_posts",
    "partition",
    "post_names",
    "read_texts",
    "register",
    "register_posts",
    "split_users",
    "write_split",
]
