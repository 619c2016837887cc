"""CrypTen opens sums over our mesh, and what would need its own randomness or another channel fails."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch.distributed import ReduceOp

from secagg.party.communicator import MeshCommunicator, use_mesh
from secagg.party.crypten_backend import open_sum
from secagg.party.mesh import MeshBroken
from tests.secagg.party.joined import meshes


def together(parties, work):
    with ThreadPoolExecutor(parties) as pool:
        return list(pool.map(work, meshes(parties, 5)))


@pytest.mark.parametrize("parties", [2, 3, 5])
def test_every_party_opens_the_same_sum_modulo_2_to_64(parties):
    shares = np.random.default_rng(parties).integers(-(2**63), 2**63 - 1, (parties, 50_000))
    for opened in together(parties, lambda mesh: open_sum(mesh, shares[mesh.rank])):
        assert np.array_equal(opened, shares.sum(axis=0))


def test_reductions_are_sums_or_xors_of_one_tensor_or_of_several_in_one_exchange():
    def work(mesh):
        own = [torch.tensor([[1, 2], [3, mesh.rank]]), torch.tensor(2**mesh.rank), torch.empty(0, dtype=torch.int64)]
        communicator = MeshCommunicator(mesh)
        before = mesh.sent
        summed = communicator.all_reduce(own, batched=True)
        batched = mesh.sent - before
        single = communicator.all_reduce(own[0])
        mixed = communicator.all_reduce(own[1], op=ReduceOp.BXOR)
        return [part.tolist() for part in summed], single.tolist(), int(mixed), batched

    for summed, single, mixed, sent in together(3, work):
        assert summed == [[[3, 6], [9, 3]], 7, []]
        assert single == [[3, 6], [9, 3]]
        assert mixed == 7
        assert sent < 2 * 120  # one small frame to each of two


def test_tensors_of_different_shapes_or_types_are_not_combined():
    def work(mesh):
        communicator = MeshCommunicator(mesh)
        own = torch.zeros(3 + mesh.rank, dtype=torch.int64)
        with pytest.raises(MeshBroken, match="another shape or type"):
            communicator.all_gather(own)
        mesh.close()

    together(2, work)


def test_what_opening_does_not_need_is_not_there():
    (mesh, _) = meshes(2)
    communicator = MeshCommunicator(mesh)
    for use in (
        lambda: communicator.all_reduce(torch.zeros(1), op=ReduceOp.MAX),
        lambda: communicator.broadcast(torch.zeros(1), 0),
        lambda: communicator.send(torch.zeros(1), 1),
    ):
        with pytest.raises(NotImplementedError):
            use()


def test_crypten_cannot_share_with_its_own_generator():
    """Its seeds have 64 bits and travel in the clear; they are never made here, so using them fails."""
    (mesh, _) = meshes(2)
    crypten = use_mesh(mesh)
    try:
        with pytest.raises(KeyError):
            crypten.mpc.primitives.ArithmeticSharedTensor(torch.zeros(3), precision=0, src=0)
    finally:
        use_mesh(None)


def test_a_thread_has_its_own_mesh_or_none():
    (mesh, _) = meshes(2)
    use_mesh(mesh)
    try:
        with ThreadPoolExecutor(1) as pool:
            assert MeshCommunicator.is_initialized()
            assert not pool.submit(MeshCommunicator.is_initialized).result()
    finally:
        use_mesh(None)
    assert not MeshCommunicator.is_initialized()
