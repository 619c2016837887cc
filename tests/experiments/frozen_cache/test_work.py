"""The name of a work covers everything that decides a bit of its results, and nothing else."""

from __future__ import annotations

import torch

from experiments.frozen_cache import work as module
from tests.experiments.frozen_cache.works import N, work


def test_everything_that_decides_a_bit_is_in_the_name(monkeypatch):
    names = [work().name()]
    data = work().data
    other = data.clone()
    other[-1, -1] += 1e-6
    names += [
        work(weights="v").name(),
        work(place="block 2").name(),
        work(data=other).name(),
        work(data=data.reshape(3, N)).name(),
        work(data=data.view(torch.int32)).name(),
        work(row=(2, 150)).name(),
        work(at_once=8).name(),
    ]
    for target, value in ((torch, "__version__"), (module, "_FORMAT"), (module, "_arithmetic")):
        with monkeypatch.context() as patch:
            patch.setattr(target, value, (lambda _: "other") if value == "_arithmetic" else 99)
            names.append(work().name())
    assert len(set(names)) == len(names) == 11
    assert work().name() == names[0]
    assert work(what="x", records="y", data=data.clone(), compute=lambda part: part).name() == names[0]


def test_the_number_of_threads_decides_rounding():
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = work().name()
        torch.set_num_threads(2)
        assert work().name() != one
    finally:
        torch.set_num_threads(threads)


def test_results_come_in_order_in_parts_of_one_size_and_progress_is_said():
    said = []
    parts = list(work().results(said.append))
    assert [len(part) for part in parts] == [16, 16, 16, 2]
    assert said[1] == "computing the frozen parts: 16 of 50 records"
    assert all(part.dtype == torch.float32 for part in parts)
