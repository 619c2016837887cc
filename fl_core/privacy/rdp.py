"""Renyi DP of one event at fixed orders, and the way from RDP to epsilon.

Takes events as they stand (all `survivors` shares are honest: what an adversary is left with is decided in `views`) and
a neighbouring relation; gives a float64 array over `ORDERS` that adds up over events, which makes it the running stop
rule of a training loop: RDP at fixed orders stays valid when the noise of a round depends on earlier rounds.

Two habits of dp-accounting's RDP accountant are never passed on: it ignores that replace-one doubles the sensitivity of
an unsampled Gaussian, and takes the noise of a fixed-size sample relative to that doubled sensitivity. Both are met by
halving the noise multiplier here.
"""

import math
import warnings
from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fl_core.privacy import discrete
from fl_core.privacy.events import MechanismEvent, Neighbouring, PrivacyError

__all__ = ["INTEGER_ORDERS", "ORDERS", "epsilon_from_rdp", "honest_tau", "rdp_of", "realised_noise"]

ORDERS: NDArray[np.float64] = np.array(
    [1 + x / 10 for x in range(1, 100)] + list(range(11, 64)) + [128, 256, 512, 1024], dtype=np.float64
)
"""The orders of dp-accounting's RDP accountant, so that Gaussian results agree with it to the last digit."""
ORDERS.setflags(write=False)

INTEGER_ORDERS: NDArray[np.int64] = np.array([*range(1, 64), 128, 256, 512, 1024], dtype=np.int64)
"""The integers between which `ORDERS` are interpolated, 1 included."""
INTEGER_ORDERS.setflags(write=False)

SMALLEST_NOISE = 1e-6
"""Noise multiplier below which no finite epsilon is given (it would be beyond 10^11)."""
LARGEST_NOISE = 1e9
"""Noise multiplier above which more noise is not counted."""
_NEGLIGIBLE_TAU = 1e-60
_TRUSTED_RDP = 1e-9


def rdp_of(event: MechanismEvent, neighbouring: Neighbouring = "zero_out") -> NDArray[np.float64]:
    """RDP at `ORDERS` of all `steps` of one event; read-only, cached, and additive over events.

    The noise is that of the survivors (all clients when `survivors` is None); `colluders` are not taken off.

    Raises:
        PrivacyError: where nothing is proven for this event, saying what is.
    """
    per_step = _one_step(replace(event, steps=1, colluders=0), neighbouring)
    total = per_step * event.steps
    total.setflags(write=False)
    return total


def epsilon_from_rdp(rdp: NDArray[np.float64], delta: float) -> float:
    """Epsilon of an RDP curve over `ORDERS` by dp-accounting's conversion; inf when there is none."""
    from dp_accounting import rdp as dp_rdp

    curve = np.where(np.isnan(rdp), math.inf, rdp)
    if not np.isfinite(curve).any():
        return math.inf
    return float(dp_rdp.compute_epsilon(ORDERS, curve, delta)[0])


def realised_noise(event: MechanismEvent) -> float:
    """Noise multiplier of an opened sum: z sqrt(survivors / clients), or z when every share is there, and that of the
    aggregators, added in squares.

    Above `LARGEST_NOISE` that much is all that is counted, which keeps the arithmetic inside float64.
    """
    noise = event.noise_multiplier
    if event.survivors is not None and event.clients is not None:
        noise *= math.sqrt(event.survivors / event.clients)
    noise = math.hypot(noise, math.sqrt(event.aggregators) * event.aggregator_multiplier)
    return min(noise, LARGEST_NOISE)


def honest_tau(event: MechanismEvent) -> float | None:
    """`discrete.sum_distance` of the surviving shares and the aggregators' noise; None when the number of shares or
    the scale is not known."""
    if event.scale is None or (event.clients is None and event.noise_multiplier > 0.0):
        return None
    tau, own = 0.0, event.aggregator_multiplier * event.scale
    if event.aggregators:
        tau = discrete.sum_distance(own, event.aggregators)
    if event.clients is None or event.noise_multiplier == 0.0:
        return tau
    share, shares = event.noise_multiplier * event.scale / math.sqrt(event.clients), event.survivors or event.clients
    tau += discrete.sum_distance(share, shares)
    if event.aggregators:
        tau += discrete.joined_distance(share * math.sqrt(shares), own * math.sqrt(event.aggregators))
    return tau


@lru_cache(maxsize=4096)
def _one_step(event: MechanismEvent, neighbouring: Neighbouring) -> NDArray[np.float64]:
    if event.sampled and event.sampling == "poisson" and neighbouring == "replace_one":
        better = "use the pld accountant" if event.mechanism == "gaussian" else "use zero_out"
        raise PrivacyError(
            f"Poisson sampling under replace_one has no RDP bound for {event.mechanism} noise; {better}, "
            "or a sample_rate of 1."
        )
    realised = realised_noise(event)
    if realised < SMALLEST_NOISE:
        return np.full_like(ORDERS, math.inf)
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("ignore")
        if event.mechanism == "gaussian":
            rdp = _gaussian(event, realised, neighbouring)
        else:
            rdp = _integer_noise(event, realised, 2.0 if neighbouring == "replace_one" else 1.0)
    rdp.setflags(write=False)
    return rdp


def _gaussian(event: MechanismEvent, z: float, neighbouring: Neighbouring) -> NDArray[np.float64]:
    if not event.sampled:
        shift = 2.0 if neighbouring == "replace_one" else 1.0
        return 0.5 * ORDERS * (shift / z) ** 2
    if event.sample_rate is None:
        return _fixed_size_gaussian(event, z)
    bound = discrete.interpolate_moments(
        ORDERS, INTEGER_ORDERS, discrete.sampled_gaussian_moments(INTEGER_ORDERS, event.sample_rate, 1.0 / z)
    )
    whole = np.floor(ORDERS) == ORDERS
    sharper = np.full_like(bound, math.inf)
    sharper[~whole] = _fractional_orders(event.sample_rate, z, ORDERS[~whole])
    # the library's series at fractional orders can fail to converge, or cancel to nothing when the divergence
    # is tiny
    usable = np.isfinite(sharper) & (sharper > _TRUSTED_RDP)
    bound = np.where(usable, np.minimum(sharper, bound), bound)
    return np.minimum(bound, 0.5 * ORDERS / z**2)  # a mixture with the unshifted noise is never further from it


def _fractional_orders(sample_rate: float, z: float, orders: NDArray[np.float64]) -> NDArray[np.float64]:
    import dp_accounting as dpa
    from absl import logging
    from dp_accounting import rdp as dp_rdp

    accountant = dp_rdp.RdpAccountant(orders, dpa.NeighboringRelation.REPLACE_SPECIAL)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)  # it warns of every order that does not converge
    try:
        accountant.compose(dpa.PoissonSampledDpEvent(sample_rate, dpa.GaussianDpEvent(z)))
    except (OverflowError, ValueError, FloatingPointError):
        return np.full_like(orders, math.inf)
    finally:
        logging.set_verbosity(verbosity)
    return np.asarray(accountant.rdp, dtype=np.float64)


def _fixed_size_gaussian(event: MechanismEvent, z: float) -> NDArray[np.float64]:
    """Sampling without replacement, replace-one (Wang, Balle, Kasiviswanathan 2019, Theorem 27).

    It bounds zero-out as well: a contribution of zero is one of the contributions that replace-one allows.
    """
    import dp_accounting as dpa
    from dp_accounting import rdp as dp_rdp

    accountant = dp_rdp.RdpAccountant(ORDERS, dpa.NeighboringRelation.REPLACE_ONE)
    sampled = dpa.SampledWithoutReplacementDpEvent(event.population, event.cohort, dpa.GaussianDpEvent(z / 2.0))
    try:
        accountant.compose(sampled)
    except (OverflowError, ValueError, FloatingPointError):
        return np.full_like(ORDERS, math.inf)
    amplified = np.nan_to_num(accountant.rdp, nan=math.inf, posinf=math.inf)
    # never above what holds without sampling, and never the rounded-away zero of a tiny divergence
    unsampled = 0.5 * ORDERS * (2.0 / z) ** 2
    return np.where(amplified > _TRUSTED_RDP, np.minimum(amplified, unsampled), np.minimum(unsampled, _TRUSTED_RDP))


def _integer_noise(event: MechanismEvent, z: float, shift: float) -> NDArray[np.float64]:
    """Discrete Gaussian or Skellam noise of std z clip norms; `shift` clip norms between neighbours."""
    # No amplification is proven for fixed-size samples of integer noise, so none is counted.
    rate = event.sample_rate if event.sampling == "poisson" and event.sampled else None
    if event.mechanism == "skellam":
        return _skellam(event, z, shift, rate)
    tau = honest_tau(event) or 0.0
    if tau <= _NEGLIGIBLE_TAU:
        tau, l1_ratio, dimension = 0.0, 0.0, 1
    elif event.dimension is None or event.scale is None:
        raise PrivacyError(
            f'"dimension" is missing: at {event.scale:g} grid steps per clip norm a share of the noise is so '
            "few steps wide that their sum is not one discrete Gaussian, by an amount that grows with it."
        )
    else:
        dimension = event.dimension
        l1_ratio = discrete.l1_sensitivity(shift * event.scale, dimension) / (z * event.scale)
    unsampled = discrete.discrete_gaussian_rdp(ORDERS, shift / z, l1_ratio, tau, dimension)
    if rate is None:
        return unsampled
    moments = discrete.sampled_gaussian_moments(INTEGER_ORDERS, rate, shift / z)
    # Every density involved (shifted, unshifted and their mixture) is within a factor exp(+-tau d) of the one
    # for a single discrete Gaussian, so sum P^a Q^(1-a) grows by at most exp((a + (a - 1)) tau d).
    moments = moments + np.where(INTEGER_ORDERS > 1, (2 * INTEGER_ORDERS - 1) * tau * dimension, 0.0)
    return np.minimum(discrete.interpolate_moments(ORDERS, INTEGER_ORDERS, moments), unsampled)


def _skellam(event: MechanismEvent, z: float, shift: float, rate: float | None) -> NDArray[np.float64]:
    if event.scale is None or event.dimension is None:
        missing = "scale" if event.scale is None else "dimension"
        raise PrivacyError(f'"{missing}" is missing: the bound for Skellam noise needs "scale" and "dimension".')
    l2_steps = shift * event.scale
    l1_steps = discrete.l1_sensitivity(l2_steps, event.dimension)
    every = np.arange(INTEGER_ORDERS[-1] + 1)
    rdp = np.zeros(len(every))
    rdp[2:] = discrete.skellam_rdp(every[2:], l2_steps, l1_steps, (z * event.scale) ** 2)
    moments = (INTEGER_ORDERS - 1) * rdp[INTEGER_ORDERS]
    if rate is not None:
        moments = np.minimum(moments, discrete.sampled_moments_in_general(INTEGER_ORDERS, rate, rdp))
    return discrete.interpolate_moments(ORDERS, INTEGER_ORDERS, moments)
