"""CrypTen's provider of correlated randomness, filled by our dealer.

CrypTen's default provider (TFP, "trusted first party") makes every triple at party 0, which can therefore undo all
masks, and its TTP provider sends 64-bit seeds over channels without keys. `use_dealer` puts a `DealerClient` where
CrypTen looks for its provider; a thread without one gets a refusal instead of the default. Nothing that was dealt
may serve twice.

Ours and not independently reviewed.
"""

from __future__ import annotations

import math
import threading
from typing import Any

from secagg.errors import AggregationError
from secagg.party.crypten_import import import_crypten
from secagg.party.dealer import Order, Scalars, dealt_scalars, dealt_vector
from secagg.party.frames import Channel, ChannelBroken
from secagg.party.mesh import MeshBroken
from secagg.randomness import KEY_BYTES

__all__ = ["DealerClient", "use_dealer"]

_crypten: Any = import_crypten()
_current = threading.local()


class DealerClient:
    """One party's end of its channel to the dealer, for one round.

    Args:
        channel: to the dealer; closed by `close`.
        rank: of this party.
        parties: how many there are; the last one's shares carry the corrections.
        timeout_s: longest wait for a dealing.
    """

    def __init__(self, channel: Channel, rank: int, parties: int, timeout_s: float) -> None:
        self._channel, self._last, self._timeout_s = channel, rank == parties - 1, timeout_s
        self._ordered: Order | None = None
        self._dealt: tuple[bytes, Order, Scalars] | None = None
        self._vector_used = self._signs_used = False
        self._ands_used = 0
        self.number = 0

    @property
    def sent(self) -> int:
        """Bytes sent to the dealer so far."""
        return self._channel.sent

    def ask(self, order: Order) -> None:
        """Order the next dealing; the parties can work on until they `collect` it.

        Raises:
            MeshBroken: if the dealer is gone.
        """
        try:
            self._channel.send("deal", order.facts(self.number))
        except ChannelBroken as error:
            raise MeshBroken(f"the dealer: {error}") from None
        self._ordered, self._dealt = order, None

    def collect(self) -> None:
        """Wait for the dealing that was ordered.

        Raises:
            MeshBroken: if the dealer is gone, silent, or answers something else.
        """
        order = self._ordered
        assert order is not None
        try:
            frame = self._channel.receive(self._timeout_s)
        except ChannelBroken as error:
            raise MeshBroken(f"the dealer: {error}") from None
        size = KEY_BYTES + (order.correction_bytes if self._last else 0)
        if frame.kind != "dealt" or frame.facts != order.facts(self.number) or len(frame.payload) != size:
            raise MeshBroken("the dealer dealt something else than it was asked for")
        payload = memoryview(frame.payload)
        seed = bytes(payload[:KEY_BYTES])
        self._dealt = (seed, order, dealt_scalars(seed, order, payload[KEY_BYTES:]))
        self._ordered, self._vector_used, self._signs_used, self._ands_used = None, False, False, 0
        self.number += 1

    def inner_square(self) -> tuple[Any, Any]:
        """A random vector `a [length]` and `<a, a>` `[]`, as CrypTen's arithmetic shares of precision 0; once.

        CrypTen's own `square` wants all squares; this is its sum, which costs the dealer one word instead of `length`.
        """
        seed, order, scalars = self._fresh(self._vector_used)
        self._vector_used = True
        shares = _crypten.mpc.primitives.ArithmeticSharedTensor.from_shares
        return shares(dealt_vector(seed, 0, order.length), precision=0), shares(scalars.square[0], precision=0)

    def sign_masks(self) -> tuple[Any, Any]:
        """Random ring elements `[signs]` in CrypTen's arithmetic shares, and their bits in its binary shares; once."""
        _, _, scalars = self._fresh(self._signs_used)
        self._signs_used = True
        primitives = _crypten.mpc.primitives
        return (
            primitives.ArithmeticSharedTensor.from_shares(scalars.masks, precision=0),
            primitives.BinarySharedTensor.from_shares(scalars.bits, precision=0),
        )

    def generate_binary_triple(self, size0: Any, size1: Any, device: Any = None) -> tuple[Any, Any, Any]:
        """CrypTen's request for u, v and u & v in binary shares, for one AND of two tensors of one shape.

        Raises:
            RuntimeError: if more is asked for than was dealt.
        """
        _, order, scalars = self._fresh(False)
        first, count = self._ands_used, math.prod(size0)
        if tuple(size0) != tuple(size1) or first + count > order.ands:
            raise RuntimeError(f"an AND of {tuple(size0)} and {tuple(size1)}, {order.ands - first} words are left")
        self._ands_used += count
        parts = (
            words[first : first + count].reshape(size0) for words in (scalars.left, scalars.right, scalars.products)
        )
        shares = _crypten.mpc.primitives.BinarySharedTensor.from_shares
        left, right, product = (shares(part, precision=0) for part in parts)
        return left, right, product

    def close(self) -> None:
        """Hang up; the dealer's round ends with it."""
        self._channel.close()

    def _fresh(self, used: bool) -> tuple[bytes, Order, Scalars]:
        if self._dealt is None or used:
            raise RuntimeError("what the dealer dealt is used up; a mask must never serve twice")
        return self._dealt


def use_dealer(dealer: DealerClient | None) -> None:
    """Make `dealer` CrypTen's provider in this thread; with None, products are refused."""
    # The only place where CrypTen looks for a provider.
    _crypten.mpc.get_default_provider = _provider
    _current.dealer = dealer


def _provider() -> DealerClient:
    found: DealerClient | None = getattr(_current, "dealer", None)
    if found is None:
        raise AggregationError(
            "products of shares need a dealer that is none of the parties; CrypTen's default provider (TFP) is refused "
            "because party 0 makes all its masks and can read everything"
        )
    return found


# From the first import on: nobody gets the default by forgetting to choose.
use_dealer(None)
