"""Parties of one round exchange frames without deadlock, and a party that is gone or out of turn is named."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from secagg.party.mesh import MeshBroken
from tests.secagg.party.joined import meshes


@pytest.mark.parametrize("parties", [2, 3, 5])
def test_payloads_larger_than_any_buffer_are_exchanged_without_deadlock(parties):
    def work(mesh):
        return mesh.exchange("x", {"from": mesh.rank}, bytes([mesh.rank]) * 4_000_000)

    made = meshes(parties)
    with ThreadPoolExecutor(parties) as pool:
        for rank, found in enumerate(pool.map(work, made)):
            assert sorted(found) == [other for other in range(parties) if other != rank]
            for other, frame in found.items():
                assert frame.facts == {"from": other}
                assert bytes(frame.payload) == bytes([other]) * 4_000_000
    assert all(mesh.sent > 4_000_000 * (parties - 1) for mesh in made)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_party_that_is_gone_is_named_by_whoever_waits_for_it(gone):
    made = meshes(3)
    made[gone].close()
    for mesh in made:
        if mesh.rank != gone:
            with pytest.raises(MeshBroken, match=f"party {gone}: "):
                mesh.receive(gone, "x")
            with pytest.raises(MeshBroken, match=f"party {gone}: "):
                for _ in range(3):
                    mesh.send(gone, "x", {}, bytes(100_000))


def test_a_silent_party_is_a_time_out():
    made = meshes(2, 0.2)
    with pytest.raises(MeshBroken, match="party 1: silent for 0.2 s"):
        made[0].receive(1, "x")


def test_another_kind_of_frame_than_it_is_time_for_is_refused():
    made = meshes(2)
    made[1].send(0, "sum", {})
    with pytest.raises(MeshBroken, match="party 1 sent 'sum' instead of 'agree'"):
        made[0].receive(1, "agree")


def test_a_party_that_says_it_is_working_is_waited_for():
    made = meshes(2, 0.5)

    def slow():
        for _ in range(4):
            time.sleep(0.3)
            made[1].working()
        made[1].send(0, "done", {})

    worker = threading.Thread(target=slow)
    worker.start()
    assert made[0].is_slow(1) is False  # its first word comes before a second is over
    assert made[0].receive(1, "done").kind == "done"
    worker.join()


def test_an_end_that_closes_while_another_thread_reads_wakes_it():
    made = meshes(2, 30)
    threading.Timer(0.2, made[0].close).start()
    started = time.monotonic()
    with pytest.raises(MeshBroken):
        made[0].receive(1, "x")
    assert time.monotonic() - started < 10
