"""A small work with results that are easily known: each record times a weight, and how often it was computed."""

from __future__ import annotations

import dataclasses

import torch

from experiments.frozen_cache import FrozenWork

N, WIDTH = 50, 300


def work(**changes) -> FrozenWork:
    data = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
    made = FrozenWork(
        what="the frozen parts",
        records="records",
        weights="w",
        place="block 1",
        data=data,
        row=(WIDTH,),
        at_once=16,
        device=torch.device("cpu"),
        compute=lambda part: part.sum(1, keepdim=True) * torch.arange(1.0, WIDTH + 1),
    )
    return dataclasses.replace(made, **changes)


def expected(made: FrozenWork) -> torch.Tensor:
    return torch.cat(list(made.results(lambda _: None)))
