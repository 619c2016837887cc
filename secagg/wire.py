"""The bounded binary encoding of what crosses between processes: msgpack with limits, sets of ids as ranges, specs.

Nothing here can run code or allocate more than its limits say, whatever the bytes are. It must never be given
pickled data, and decoding accepts only what encoding would have written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgpack

from secagg.errors import AggregationError
from secagg.limits import DEFAULT_MAX_CLIENTS
from secagg.messages import RoundNoise, RoundSpec

__all__ = ["WireError", "decode", "encode", "ids_of", "ranges_of", "spec_from_wire", "spec_to_wire"]

_MAX_ITEMS = 2**22


class WireError(Exception):
    """Bytes that are not an encoding; the caller says in which message."""


def encode(value: Any) -> bytes:
    """`value` (None, bool, int below 2^64, float, str, bytes, list, dict with string keys) as bytes."""
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def decode(data: bytes | bytearray | memoryview) -> Any:
    """The value that `encode` wrote.

    Raises:
        WireError: for bytes that `encode` cannot have written: malformed, truncated, trailing, non-canonical.
    """
    size = len(data)
    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_str_len=size,
            max_bin_len=size,
            max_array_len=min(size, _MAX_ITEMS),
            max_map_len=min(size, _MAX_ITEMS),
            max_ext_len=0,
        )
        same = encode(value) == bytes(data)
    # msgpack's own errors are ValueErrors, but nesting, odd keys and lone surrogates raise others.
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as error:
        raise WireError(f"not an encoding: {type(error).__name__}") from None
    if not same:
        raise WireError("not the canonical encoding")
    return value


def ranges_of(ids: Iterable[int]) -> list[list[int]]:
    """Ids as sorted half-open ranges `[start, stop]`; ten thousand neighbours travel as two numbers."""
    if isinstance(ids, range) and ids.step == 1:
        return [[ids.start, ids.stop]] if len(ids) else []
    found: list[list[int]] = []
    for number in sorted(ids):
        if found and found[-1][1] == number:
            found[-1][1] = number + 1
        else:
            found.append([number, number + 1])
    return found


def ids_of(ranges: object, limit: int = DEFAULT_MAX_CLIENTS) -> Sequence[int]:
    """The ids of `ranges_of`, ascending: a range if there is one, else a tuple.

    Raises:
        WireError: for anything that is not sorted, separate, non-empty ranges of at most `limit` ids below 2^63.
    """
    if not isinstance(ranges, list):
        raise WireError("ids are not a list of ranges")
    total, last = 0, -1
    for pair in ranges:
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(end) is int for end in pair)):
            raise WireError("a range of ids is not two whole numbers")
        start, stop = pair
        if not last < start < stop <= 2**63:
            raise WireError("ranges of ids are empty, overlap, touch or are out of order")
        total, last = total + stop - start, stop
        if total > limit:
            raise WireError(f"more than {limit} ids")
    if len(ranges) == 1:
        return range(ranges[0][0], ranges[0][1])
    return tuple(number for start, stop in ranges for number in range(start, stop))


def spec_to_wire(spec: RoundSpec) -> list[Any]:
    """A round's specification as plain values; equal specifications give equal bytes."""
    noise = spec.noise
    return [
        spec.run,
        spec.round,
        spec.attempt,
        ranges_of(spec.clients),
        spec.length,
        spec.n_min,
        spec.scale,
        spec.bits,
        spec.model,
        [noise.mechanism, noise.aggregator_std, list(noise.components)],
        spec.norm_bound,
    ]


def spec_from_wire(value: object, max_clients: int = DEFAULT_MAX_CLIENTS) -> RoundSpec:
    """The specification of `spec_to_wire`.

    Raises:
        WireError: for anything else, and for more than `max_clients` clients.
    """
    kinds = (str, int, int, list, int, int, int, int, str, list, int)
    if not isinstance(value, list) or [type(part) for part in value] != list(kinds):
        raise WireError("a round's specification has other parts")
    run, number, attempt, ranges, length, n_min, scale, bits, model, noise, bound = value
    if len(noise) != 3 or [type(part) for part in noise] != [str, float, list]:
        raise WireError("a round's noise has other parts")
    if len(run) > 256 or len(model) > 256 or any(type(std) is not float for std in noise[2]):
        raise WireError("a round's specification has a value that is too long or no number")
    try:
        parts, clients = RoundNoise(noise[0], noise[1], tuple(noise[2])), ids_of(ranges, max_clients)
        return RoundSpec(run, number, attempt, clients, length, n_min, scale, bits, model, parts, bound)
    except AggregationError as error:
        raise WireError(str(error)) from None
