"""A small network that looks at words and pixels, with a batch for it and a loss of each sample alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.fl_core.lora_models import lora_model


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.conv = nn.Conv2d(2, 3, 3, padding=1, stride=2)
        self.inner = nn.Linear(6, 5)
        self.fc = nn.Linear(5 + 12, 4)

    def forward(self, ids, images):
        words = torch.tanh(self.inner(self.embed(ids))).mean(1)
        pixels = torch.relu(self.conv(images)).flatten(1)
        return self.fc(torch.cat([words, pixels], 1))


def adapted(targets, **options):
    return lora_model(Network(), targets, **options)


def batch(b=5):
    g = torch.Generator().manual_seed(2)
    return {
        "ids": torch.randint(0, 11, (b, 4), generator=g),
        "images": torch.randn(b, 2, 4, 4, generator=g),
    }


LABELS = torch.tensor([0, 3, 1, 2, 2, 0, 1])


def loss_fn(output, inputs):
    return F.cross_entropy(output, LABELS[: len(output)], reduction="none")
