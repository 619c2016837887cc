"""XNoise: every client adds too much noise, and what drop-outs did not take away is removed from the sum again.

Add-then-remove of Jiang, Wang and Chen 2024 (Dordis, EuroSys, section 3): of n expected clients up to D may vanish.
Each adds D + 1 independent components, the removable ones drawn from 256-bit seeds that the parties hold in shares.
If d clients vanished, components d+1 .. D of each survivor are drawn again from their seeds and subtracted, and the
sum has the noise that was asked for, whatever d was. Regenerated noise must equal the client's bit for bit, so the
mechanism is one of the integer ones: their samplers decide on float64 only where its error bounds leave no doubt and
in exact arithmetic elsewhere, so that no machine's rounding or mathematical library shows in a draw. A seed of a
component that stays must never be opened.

Ours and not independently reviewed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from secagg.errors import EncodingError
from secagg.noise_draws import INTEGER_MECHANISMS, draw_noise, whole_steps
from secagg.randomness import KEY_BYTES, Keystream
from secagg.ring import add_wrap

__all__ = ["MAX_VECTORS", "component_stds", "draw_components", "surplus"]

# A round without drop-outs draws clients * dropouts vectors again at party 0: minutes at 10^6 coordinates.
MAX_VECTORS = 2**14


def component_stds(std: float, clients: int, dropouts: int, whole: bool) -> tuple[float, ...]:
    """Standard deviations of a client's noise components 0 .. D, in grid steps.

    Component 0 has variance `V / n` and always stays; component k has `V / ((n-k+1)(n-k))` and stays if at least k
    clients vanish. The sum telescopes: components 0 .. d add up to `V / (n-d)`, hence n - d survivors to V.

    Args:
        std: sqrt(V), the noise of the sum, in grid steps.
        clients: n, how many clients are expected.
        dropouts: D, how many of them may vanish; 0 to n - 1.
        whole: round each up to whole steps, as the integer mechanisms need; the sum then has at least V.

    Raises:
        EncodingError: if a whole component is outside 4 to 2^30 steps, or n * D noise vectors are too many to draw
            again in one round.
    """
    if not 0 <= dropouts < clients:
        raise EncodingError(f"XNoise for {dropouts} drop-outs among {clients} clients; allowed: 0 to {clients - 1}")
    if clients * dropouts > MAX_VECTORS:
        raise EncodingError(
            f"XNoise for {dropouts} drop-outs among {clients} clients would draw {clients * dropouts} noise vectors "
            f"again in one round; allowed: up to {MAX_VECTORS}, raise federation.n_min or set noise.dropout to oversize"
        )
    variances = [1 / clients] + [1 / ((clients - k + 1) * (clients - k)) for k in range(1, dropouts + 1)]
    stds = [std * math.sqrt(variance) for variance in variances]
    if whole:
        stds = [whole_steps(component, f"an XNoise component (of {clients} clients)") for component in stds]
    return tuple(stds)


def draw_components(
    mechanism: str, stds: Sequence[float], length: int, source: Keystream
) -> tuple[NDArray[np.int64], tuple[bytes, ...]]:
    """One client's noise, all components together `[length]`, and the seeds of components 1 .. D.

    Args:
        mechanism: "discrete_gaussian" or "skellam".
        stds: of `component_stds`.
        length: coordinates.
        source: the client's keystream of this round and attempt; component 0 is drawn from it and can never be
            drawn again by others.

    Raises:
        EncodingError: for another mechanism or standard deviations that are not whole.
    """
    _refuse_inexact(mechanism, stds)
    total = draw_noise(mechanism, stds[0], length, source)
    seeds = tuple(source.child("component", k).take(KEY_BYTES) for k in range(1, len(stds)))
    for std, seed in zip(stds[1:], seeds, strict=True):
        add_wrap(total, draw_noise(mechanism, std, length, Keystream.from_key(seed)))
    return total, seeds


def surplus(
    mechanism: str, stds: Sequence[float], dropped: int, seeds: Sequence[bytes], length: int
) -> NDArray[np.int64]:
    """What one survivor's noise has too much of after `dropped` drop-outs `[length]`, to be subtracted.

    Args:
        mechanism, stds, length: as its `draw_components` had them.
        dropped: d, how many of the expected clients are not in the sum.
        seeds: of components d+1 .. D, in this order, and no others.

    Raises:
        EncodingError: for another mechanism, standard deviations that are not whole, or another number of seeds.
    """
    _refuse_inexact(mechanism, stds)
    removed = stds[dropped + 1 :]
    if len(seeds) != len(removed):
        raise EncodingError(
            f"{len(seeds)} seeds to remove noise with; after {dropped} drop-outs it takes {len(removed)}"
        )
    total: NDArray[np.int64] = np.zeros(length, dtype=np.int64)
    for std, seed in zip(removed, seeds, strict=True):
        add_wrap(total, draw_noise(mechanism, std, length, Keystream.from_key(seed)))
    return total


def _refuse_inexact(mechanism: str, stds: Sequence[float]) -> None:
    if mechanism not in INTEGER_MECHANISMS:
        raise EncodingError(
            f"XNoise with mechanism {mechanism!r}, whose draws differ between machines; "
            f"allowed: {', '.join(INTEGER_MECHANISMS)}"
        )
    for std in stds:
        whole_steps(std, "an XNoise component")
        if std != math.floor(std):
            raise EncodingError(f"an XNoise component of {std} grid steps; allowed: whole numbers")
