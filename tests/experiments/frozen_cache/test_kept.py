"""Results are the same bits from disk, memory and anew; a disk that cannot be used costs a warning and time only."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from experiments.frozen_cache import FrozenCache, kept
from experiments.frozen_cache.row_file import RowFile
from fl_core.config import EngineConfig
from tests.experiments.frozen_cache.works import WIDTH, N, expected, work

ALL = np.arange(N)


@pytest.fixture(autouse=True)
def everything_goes_to_disk(monkeypatch):
    monkeypatch.setattr(kept, "_SMALL", 1)
    monkeypatch.setattr(kept, "_in_memory", {})


def rows(folder, made=None, said=None, **engine):
    said = [] if said is None else said
    return FrozenCache(EngineConfig(**engine), said.append, folder).of(work() if made is None else made)


def counted():
    """A work and how many records were computed for it."""
    calls = []
    run = work().compute
    return work(compute=lambda part: calls.append(len(part)) or run(part)), calls


def files(folder):
    return sorted(path for path in folder.iterdir() if path.name != ".lock")


def test_results_are_the_same_bits_from_memory_anew_and_from_disk(tmp_path):
    made, calls = counted()
    want = expected(work())
    anew = rows(tmp_path, made)
    assert sum(calls) == N
    from_disk = rows(tmp_path, made)
    assert sum(calls) == N  # nothing was computed again
    assert isinstance(from_disk._rows, RowFile)
    in_memory = rows(tmp_path / "none", made, features="memory")
    assert not (tmp_path / "none").exists()
    numbers = np.array([49, 0, 17, 17, 3])
    for found in (anew, from_disk, in_memory):
        assert torch.equal(found.take(ALL), want)
        assert torch.equal(found.take(numbers), want[torch.from_numpy(numbers)])
        assert found.take(ALL).dtype == torch.float32


def test_weights_place_data_and_format_have_files_of_their_own(tmp_path):
    for changes in ({}, {"weights": "v"}, {"place": "block 2"}, {"data": work().data + 1}, {"at_once": 7}):
        made = work(**changes)
        assert torch.equal(rows(tmp_path, made).take(ALL), expected(made))
    assert len(files(tmp_path)) == 5


def test_what_needs_more_than_was_granted_is_not_kept_and_said(tmp_path):
    said = []
    made, calls = counted()
    assert rows(tmp_path, made, said, features_gib=1e-6) is None
    assert calls == []
    assert "engine.features_gib 1e-06): not kept, computed in every round" in said[0]


def test_small_results_stay_in_memory_where_runs_share_two_sets(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "_SMALL", work().bytes + 1)
    made, calls = counted()
    for _ in range(2):
        assert torch.equal(rows(tmp_path, made).take(ALL), expected(work()))
    assert sum(calls) == N
    assert files(tmp_path) == []
    rows(tmp_path, work(weights="b"))
    rows(tmp_path, work(weights="c"))
    assert len(kept._in_memory) == 2


def flip(path):
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)


def test_a_damaged_file_is_computed_again_and_said_to_be(tmp_path):
    made, calls = counted()
    rows(tmp_path, made)
    (file,) = files(tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.warns(RuntimeWarning, match="is damaged and the frozen parts are computed again"):
        again = rows(tmp_path, made)
    assert sum(calls) == 2 * N
    assert torch.equal(again.take(ALL), expected(work()))
    assert isinstance(rows(tmp_path, made)._rows, RowFile)
    assert sum(calls) == 2 * N


def test_a_row_that_changed_on_disk_is_never_given(tmp_path):
    made, calls = counted()
    rows(tmp_path, made)
    flip(files(tmp_path)[0])
    opened = rows(tmp_path, made)
    assert torch.equal(opened.take(np.array([40])), expected(work())[40:41])
    with pytest.warns(RuntimeWarning, match="row 0 is not what was written"):
        assert torch.equal(opened.take(ALL), expected(work()))
    assert sum(calls) == 2 * N
    assert files(tmp_path) == []


def test_a_file_of_another_work_is_not_used(tmp_path):
    rows(tmp_path)
    (one,) = files(tmp_path)
    content = one.read_bytes()
    rows(tmp_path, work(weights="v"))
    (other,) = set(files(tmp_path)) - {one}
    other.write_bytes(content)
    with pytest.warns(RuntimeWarning, match="header"):
        assert torch.equal(rows(tmp_path, work(weights="v")).take(ALL), expected(work()))


@pytest.mark.parametrize("in_the_way", ["the folder", "the file"])
def test_a_folder_that_cannot_be_written_costs_a_warning_only(tmp_path, in_the_way):
    folder = tmp_path / "frozen"
    if in_the_way == "the folder":
        folder.write_text("a file")
    else:
        (folder / f"{work().name()[:32]}.rows").mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="kept in memory, as .* cannot be used: (Not|Is) a directory|File exists"):
        assert torch.equal(rows(folder).take(ALL), expected(work()))


def test_files_that_fit_only_beside_files_in_use_stay_in_memory(tmp_path):
    bound = 1.5 * work().bytes / 2**30
    first = rows(tmp_path, features_gib=bound)
    with pytest.warns(RuntimeWarning, match="do not fit beside"):
        second = rows(tmp_path, work(weights="v"), features_gib=bound)
    assert torch.equal(first.take(ALL), second.take(ALL))
    del first
    kept._in_memory.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows(tmp_path, work(weights="v"), features_gib=bound)
    assert len(files(tmp_path)) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 96 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_costs_a_warning_only(small_disk):
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        large = rows(small_disk / "frozen", work(row=(2 * WIDTH,), compute=twice))
    assert torch.equal(large.take(ALL), expected_twice())
    assert files(small_disk / "frozen") == []
    assert isinstance(rows(small_disk / "frozen")._rows, RowFile)  # half as much fits


def twice(part):
    one = work().compute(part)
    return torch.cat([one, one], 1)


def expected_twice():
    return torch.cat([expected(work())] * 2, 1)


def test_a_disk_that_fills_up_while_results_are_written_costs_a_warning_only(tmp_path, monkeypatch):
    write = kept.write_rows

    def full(stream, *arguments):
        write(stream, *arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "write_rows", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        assert torch.equal(rows(tmp_path).take(ALL), expected(work()))
    assert files(tmp_path) == []


def test_files_that_are_there_are_read_from_a_folder_that_is_read_only(tmp_path, monkeypatch):
    made, calls = counted()
    rows(tmp_path, made)
    refused = OSError(30, "Read-only file system")
    monkeypatch.setattr(os, "utime", lambda *_: (_ for _ in ()).throw(refused))
    monkeypatch.setattr(kept.RowStore, "_alone", lambda _: (_ for _ in ()).throw(refused))
    assert torch.equal(rows(tmp_path, made).take(ALL), expected(work()))
    assert sum(calls) == N
    flip(files(tmp_path)[0])
    with pytest.warns(RuntimeWarning, match="row 0"):
        assert torch.equal(rows(tmp_path, made).take(ALL), expected(work()))


def test_a_disk_that_does_not_keep_what_is_written_is_tried_once(tmp_path, monkeypatch):
    write = kept.write_rows
    monkeypatch.setattr(kept, "write_rows", lambda stream, *rest: write(stream, *rest) or stream.truncate(100))
    made, calls = counted()
    with pytest.warns(RuntimeWarning, match="does not keep what is written"):
        assert torch.equal(rows(tmp_path, made).take(ALL), expected(work()))
    assert sum(calls) == 2 * N
    assert files(tmp_path) == []


def test_an_interrupted_computation_leaves_nothing(tmp_path):
    done = []

    def interrupted(part):
        if done:
            raise KeyboardInterrupt
        done.append(part)
        return work().compute(part)

    with pytest.raises(KeyboardInterrupt):
        rows(tmp_path, work(compute=interrupted))
    assert files(tmp_path) == []
    assert kept._in_memory == {}


def test_a_writer_that_does_not_go_on_is_not_waited_for(tmp_path):
    name = work().name()
    cache = FrozenCache(EngineConfig(), lambda _: None, tmp_path)
    with cache._store.writing(name, work().shape):
        os.utime(tmp_path / f"{name[:32]}.part", (1, 1))
        with pytest.warns(RuntimeWarning, match="does not go on"):
            assert torch.equal(rows(tmp_path).take(ALL), expected(work()))


_PROCESS = """
import sys, time
from pathlib import Path
import numpy as np
from experiments.frozen_cache import FrozenCache, kept
from fl_core.config import EngineConfig
from tests.experiments.frozen_cache.works import N, work
kept._SMALL = 1
run, calls, said = work().compute, [], []
def slowly(part):
    calls.append(len(part))
    time.sleep(0.3)
    return run(part)
print("ready", flush=True)
sys.stdin.readline()
rows = FrozenCache(EngineConfig(), said.append, Path(sys.argv[1])).of(work(compute=slowly))
total = rows.take(np.arange(N)).double().sum().item()
print(sum(calls), total.hex(), any("waiting for another process" in text for text in said), flush=True)
"""


def processes(folder, count):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        )
        for _ in range(count)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    return started


def go(process):
    process.stdin.write("\n")
    process.stdin.flush()


def test_of_two_processes_that_want_the_same_one_computes(tmp_path):
    started = processes(tmp_path, 2)
    for process in started:
        go(process)
    answers = [process.communicate(timeout=100)[0].split() for process in started]
    assert sorted(int(count) for count, _, _ in answers) == [0, N]
    assert {total for _, total, _ in answers} == {expected(work()).double().sum().item().hex()}
    assert [waited for count, _, waited in answers if count == "0"] == ["True"]
    assert len(files(tmp_path)) == 1


def test_a_process_that_is_killed_leaves_its_work_to_the_one_that_waits(tmp_path):
    first, second = processes(tmp_path, 2)
    go(first)
    while not list(tmp_path.glob("*.part")):
        assert first.poll() is None
    go(second)
    first.kill()
    first.communicate()
    count, total, _ = second.communicate(timeout=100)[0].split()
    assert int(count) == N
    assert total == expected(work()).double().sum().item().hex()
    assert [path.suffix for path in files(tmp_path)] == [".rows"]
