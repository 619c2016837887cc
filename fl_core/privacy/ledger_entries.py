"""What a ledger says: its header and its openings, as data that refuses what cannot be.

An opening must never claim more noise than the header's givers can have added.
"""

import math
import sys
from dataclasses import dataclass
from typing import Final, get_args

from fl_core.privacy.events import Mechanism, MechanismEvent, Neighbouring, Sampling, check_delta
from fl_core.privacy.ledger_formats import FORMAT
from fl_core.privacy.views import Backend, Trust, Unit
from secagg.errors import SottoError

__all__ = ["LedgerError", "LedgerHeader", "Opening"]

_MIN_SIGMA = 4  # of `secagg.noise_draws`, whose samplers would be loaded for a look at a file


class LedgerError(SottoError):
    """A ledger that cannot be trusted or written: one sentence naming the file and the line."""


@dataclass(frozen=True)
class LedgerHeader:
    """What stays the same over a run; the first line of its ledger.

    Attributes:
        run: the run's id.
        unit, trust, backend: as in `views.views`.
        mechanism, neighbouring, sampling, sample_rate, cohort, population: as in `MechanismEvent`.
        delta: the run's delta.
        clip_norm: L2 bound C of one protected contribution.
        scale: grid steps per clip norm, the integer L2 bound of one contribution; None only for `gaussian`.
        dimension: coordinates of an opened sum.
        clients: clients of the run.
        n_min: survivors below which no sum is opened.
        colluders: surviving clients assumed to share their secrets with the aggregators.
        noise_source: `system` (keyed by the operating system) or `seeded` (test mode: the run is
            non-private).
        simulation_noise: `per_client` draws, or one draw of the `aggregate` noise by a simulation.
        target_epsilon: the epsilon the noise was calibrated to, if it was.
        warnings: sentences that must be shown with every epsilon of the run.
        noise_by: whose noise the sums have under trust `distributed`: of the `clients`, the `aggregators` or `both`.
        noise_dropout: how it outlives drop-outs: `oversize` shares, or `xnoise`, which removes the surplus.
        aggregators: how many aggregators add noise of their own to every sum; 0 with noise by clients.
        aggregator_sigma: standard deviation of the noise of each of them, in grid steps.
        components: xnoise: standard deviations, in grid steps, of a client's components 0 .. clients - n_min, of
            which the first `clients - survivors + 1` are in a sum.
        data: name of the data set whose records these are, where the name settles the content; empty: not known, as
            with a folder of one's own. Never a digest of records, which betrays the last one to who knows the rest.
        contribution: what one protected contribution is, in words that are equal for two runs only if the same
            contributions are protected in both; empty: not known.
        version: of this format. A header of format 1 knew only noise by clients and oversize, and is read as such; one
            of format 2 did not say what it was about, and is read as not knowing it.
    """

    run: str
    unit: str
    trust: str
    mechanism: str
    neighbouring: str
    delta: float
    clip_norm: float
    scale: float | None
    dimension: int
    clients: int
    n_min: int
    sample_rate: float | None = 1.0
    sampling: str = "poisson"
    cohort: int | None = None
    population: int | None = None
    colluders: int = 0
    backend: str = "smpc"
    noise_source: str = "system"
    simulation_noise: str = "per_client"
    target_epsilon: float | None = None
    warnings: tuple[str, ...] = ()
    noise_by: str = "clients"
    noise_dropout: str = "oversize"
    aggregators: int = 0
    aggregator_sigma: float = 0.0
    components: tuple[float, ...] = ()
    data: str = ""
    contribution: str = ""
    version: int = FORMAT

    def __post_init__(self) -> None:
        object.__setattr__(self, "warnings", tuple(self.warnings))
        object.__setattr__(self, "components", tuple(self.components))
        for key, allowed in _CHOICES.items():
            if getattr(self, key) not in allowed:
                raise LedgerError(f'"{key}" must be one of {", ".join(allowed)}, not {getattr(self, key)!r}.')
        if not isinstance(self.run, str) or not self.run:
            raise LedgerError('"run" must be a string that is not empty.')
        if self.version != FORMAT:
            raise LedgerError(f"the format version must be {FORMAT}, not {self.version!r}.")
        if not all(isinstance(warning, str) for warning in self.warnings):
            raise LedgerError('"warnings" must be a list of strings.')
        for key in ("data", "contribution"):
            if not isinstance(getattr(self, key), str):
                raise LedgerError(f'"{key}" must be a string.')
        _number("clip_norm", self.clip_norm, positive=True)
        for key in ("scale", "target_epsilon"):
            if getattr(self, key) is not None:
                _number(key, getattr(self, key), positive=True)
        for key, least in (("dimension", 1), ("clients", 1), ("n_min", 1), ("colluders", 0)):
            _integer(key, getattr(self, key), least)
        try:
            check_delta(self.delta)
            MechanismEvent(
                self.mechanism,  # type: ignore[arg-type]
                1.0,
                1,
                self.sample_rate,
                self.sampling,  # type: ignore[arg-type]
                self.cohort,
                self.population,
            )
        except SottoError as error:
            raise LedgerError(str(error)) from None
        if self.n_min > self.clients:
            raise LedgerError(f'"n_min" is {self.n_min}, which is above the {self.clients} clients.')
        if self.scale is None and self.mechanism != "gaussian":
            raise LedgerError(f'"scale" is missing; {self.mechanism} noise is drawn on a grid.')
        self._check_givers()

    def _check_givers(self) -> None:
        """Refuse noise of aggregators or in components that cannot be, or whose sum is not what is accounted."""
        _integer("aggregators", self.aggregators, 0)
        _number("aggregator_sigma", self.aggregator_sigma)
        for std in self.components:
            _number("components", std, positive=True)
        by_aggregators = self.noise_by != "clients"
        if by_aggregators != (self.aggregators > 0) or by_aggregators != (self.aggregator_sigma > 0):
            raise LedgerError('"aggregators" and "aggregator_sigma" must be above 0 if they add noise, else 0.')
        if (self.noise_dropout == "xnoise") != bool(self.components):
            raise LedgerError('"components" must be listed with "noise_dropout": "xnoise" and only with it.')
        if (by_aggregators or self.components) and (self.trust != "distributed" or self.scale is None):
            raise LedgerError('noise of aggregators or in components needs "trust": "distributed" and a "scale".')
        if self.components:
            if self.noise_by == "aggregators" or self.mechanism == "gaussian":
                raise LedgerError('"noise_dropout": "xnoise" needs integer noise of the clients.')
            if len(self.components) != self.clients - self.n_min + 1:
                raise LedgerError(f'"components" must be {self.clients - self.n_min + 1}, one more than may drop out.')
            if self.mechanism == "discrete_gaussian" and min(self.components) < _MIN_SIGMA:
                # Above it a sum of any components is one discrete Gaussian to 1e-60, so they count as equal shares.
                raise LedgerError(f'"components" of a discrete Gaussian must be at least {_MIN_SIGMA} grid steps.')

    def share_sigma(self, survivors: int, sigma_steps: float) -> float:
        """Most noise, in grid steps, that each of `survivors` clients has in a sum whose entry says `sigma_steps`."""
        if not self.components:
            return sigma_steps
        kept = self.components[: self.clients - survivors + 1]
        return min(sigma_steps, math.sqrt(math.fsum(std**2 for std in kept)))


@dataclass(frozen=True)
class Opening:
    """One sum that was opened, or could have been: it is written before the opening.

    Attributes:
        round: from 0.
        attempt: from 0; a retried round is a new opening and counts again.
        survivors: how many clients' messages are in the sum.
        set_digest: SHA-256 (hex) of the set of their ids.
        noise_multiplier: realised noise of this very sum: the standard deviation of all noise in it, over the
            clip norm: sqrt(survivors sigma_steps^2 + aggregators aggregator_sigma^2) / scale; under trust `central`,
            sigma_steps / scale; 0 only under trust `none`.
        sigma_steps: standard deviation of one client's noise in this sum in grid steps, after any removal; 0 if
            clients add none. Under `central`, of the server's noise.
        steps: how many such openings the entry stands for.
        note: anything else to keep.
    """

    round: int
    attempt: int
    survivors: int
    set_digest: str
    noise_multiplier: float
    sigma_steps: float
    steps: int = 1
    note: str = ""

    def __post_init__(self) -> None:
        for key, least in (("round", 0), ("attempt", 0), ("survivors", 1), ("steps", 1)):
            _integer(key, getattr(self, key), least)
        _number("noise_multiplier", self.noise_multiplier)
        _number("sigma_steps", self.sigma_steps)
        digest = self.set_digest
        if not isinstance(digest, str) or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise LedgerError('"set_digest" must be 64 lower-case hexadecimal digits.')
        if not isinstance(self.note, str):
            raise LedgerError('"note" must be a string.')

    def check_against(self, header: LedgerHeader) -> None:
        """Raise LedgerError where the opening cannot belong to the run or claims noise that was not added."""
        if self.survivors > header.clients:
            raise LedgerError(f'"survivors" is {self.survivors}, which is above the {header.clients} clients.')
        if self.survivors < header.n_min:
            raise LedgerError(f'"survivors" is {self.survivors}, which is below the minimum of {header.n_min}.')
        if self.noise_multiplier == 0.0:
            if header.trust != "none":
                raise LedgerError(f'"noise_multiplier" must be above 0 under trust {header.trust}.')
        elif header.scale is not None:
            shares = 1 if header.trust == "central" else self.survivors
            own = header.share_sigma(self.survivors, self.sigma_steps)
            of_aggregators = math.sqrt(header.aggregators) * header.aggregator_sigma
            added = math.hypot(own * math.sqrt(shares), of_aggregators) / header.scale
            if self.noise_multiplier > added * (1.0 + 1e-9):
                raise LedgerError(
                    f'"noise_multiplier" is {self.noise_multiplier:g}, but shares of {own:g} '
                    f"grid steps{' and the noise of the aggregators' if header.aggregators else ''} only add up to "
                    f"{added:g}."
                )
            if header.noise_by == "aggregators" and self.sigma_steps > 0:
                raise LedgerError(f'"sigma_steps" is {self.sigma_steps:g}, but clients of this run add no noise.')


_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "unit": get_args(Unit),
    "trust": get_args(Trust),
    "mechanism": get_args(Mechanism),
    "neighbouring": get_args(Neighbouring),
    "sampling": get_args(Sampling),
    "backend": get_args(Backend),
    "noise_source": ("system", "seeded"),
    "simulation_noise": ("per_client", "aggregate"),
    "noise_by": ("clients", "aggregators", "both"),
    "noise_dropout": ("oversize", "xnoise"),
}


def _number(key: str, value: object, positive: bool = False) -> None:
    # An integer beyond all floats is none either.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise LedgerError(f'"{key}" must be a finite number, not {value!r}.')
    if value < 0 or (positive and value == 0):
        raise LedgerError(f'"{key}" must be {"above" if positive else "at least"} 0, not {value:g}.')


def _integer(key: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**12:
        raise LedgerError(f'"{key}" must be an integer from {least} to 10^12, not {value!r}.')
