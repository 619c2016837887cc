"""The image model of the experiments, its public pre-training, and the cache of pre-trained bases."""

from experiments.models.cache import PretrainedBase, base_key, cache_folder, pretrained_base
from experiments.models.cnn import Cnn, CnnConfig
from experiments.models.pretrain import PretrainProgress, PretrainRecipe, accuracy, pretrain

__all__ = [
    "Cnn",
    "CnnConfig",
    "PretrainProgress",
    "PretrainRecipe",
    "PretrainedBase",
    "accuracy",
    "base_key",
    "cache_folder",
    "pretrain",
    "pretrained_base",
]
