"""Parties joined by socket pairs within this process, with a dealer if they need one."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

from secagg.party.dealer import deal
from secagg.party.dealer_provider import DealerClient
from secagg.party.frames import Channel, ChannelBroken
from secagg.party.mesh import Mesh

TIMEOUT_S = 5.0


def channel_pair(timeout_s=TIMEOUT_S):
    ours, theirs = socket.socketpair()
    return Channel(ours, timeout_s), Channel(theirs, timeout_s)


def meshes(parties, timeout_s=TIMEOUT_S):
    """One mesh for each party, joined pairwise."""
    ends = [{} for _ in range(parties)]
    for one in range(parties):
        for other in range(one):
            ends[one][other], ends[other][one] = channel_pair(timeout_s)
    return [Mesh(rank, ends[rank], timeout_s) for rank in range(parties)]


def together(parties, work, timeout_s=TIMEOUT_S, broken=False):
    """`work(mesh, dealer)` of every party at once, with a dealer; the results by rank, and how often was dealt.

    With `broken` parties leave in the middle, and the dealer may notice before it stops.
    """
    joined, ends = meshes(parties, timeout_s), [channel_pair(timeout_s) for _ in range(parties)]
    dealers = [DealerClient(ends[rank][1], rank, parties, timeout_s) for rank in range(parties)]

    def party(rank):
        try:
            return work(joined[rank], dealers[rank])
        finally:
            dealers[rank].close()
            joined[rank].close()

    with ThreadPoolExecutor(parties + 1) as pool:
        dealt = pool.submit(deal, {rank: ends[rank][0] for rank in range(parties)}, timeout_s)
        results = [task.result() for task in [pool.submit(party, rank) for rank in range(parties)]]
        try:
            return results, dealt.result()
        except ChannelBroken:
            if not broken:
                raise
            return results, 0
