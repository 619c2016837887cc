"""Every combination of what decides the noise in an opened sum, and which tests of the suite look at it.

Mechanism, trust, unit, backend, whose noise, drop-out scheme and engine: the product's configuration says which
combinations are possible, and refuses the others. Each is opened twice, with all clients and with 30 % of them gone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import cache

from bench.noise.privacy_grid import BACKENDS, BY, MECHANISMS, SCHEMES, TRUSTS, UNITS, refusal
from fl_core.config import (
    AggregationConfig,
    ClientConfig,
    EngineConfig,
    FederationConfig,
    FlowerConfig,
    LoraSettings,
    NoiseConfig,
    PrivacyConfig,
    RunConfig,
    SimulationConfig,
)

__all__ = [
    "CLIENTS",
    "COLLUDERS",
    "COORDINATES",
    "DROPOUT",
    "ENGINES",
    "MULTIPLIER",
    "N_MIN",
    "PARTIES",
    "RAY",
    "STEP",
    "VANISHED",
    "Combination",
    "covered_by",
    "covering",
    "every_combination",
    "measured_combinations",
    "possible_combinations",
    "suite_combinations",
]

CLIENTS, N_MIN, COLLUDERS, PARTIES, MULTIPLIER = 10, 5, 1, 3, 1.5
COORDINATES, STEP = 20_000, 10_000  # of an opened sum, and of one rank of its adapter
DROPOUT = 0.3
VANISHED = (0, 3)  # clients in the first and in the second round of a run

# local: in this process. workers: two processes. flower: client nodes, whose sealed answers a relay carries in this
# process. ray: the same nodes on Flower's own simulation engine, grid and actors.
ENGINES = ("local", "workers", "flower", "ray")


@dataclass(frozen=True)
class Combination:
    """One run's worth of what decides the noise; strings as in the configuration, and one of `ENGINES`."""

    mechanism: str
    trust: str
    unit: str
    backend: str
    by: str
    scheme: str
    engine: str

    def __str__(self) -> str:
        return " ".join([*astuple(self)[:4], f"by-{self.by}", self.scheme, self.engine])

    def config(self, coordinates: int = COORDINATES) -> RunConfig:
        """As a run would have it: unseeded, so that every source of noise is the one that runs have.

        Args:
            coordinates: of an opened sum, a multiple of `STEP`: the adapter's rank follows.
        """
        flower = self.engine in ("flower", "ray")
        return RunConfig(
            lora=LoraSettings(rank=coordinates // STEP, alpha=4.0, targets=["fc"]),
            federation=FederationConfig(CLIENTS, rounds=2, sample_rate=0.5, n_min=N_MIN, colluders=COLLUDERS),
            privacy=PrivacyConfig(self.unit, self.trust, self.mechanism, noise_multiplier=MULTIPLIER, clip_norm=0.7),
            noise=NoiseConfig(self.by, self.scheme),
            client=ClientConfig(steps=1, batch_size=2),
            aggregation=AggregationConfig(self.backend, PARTIES),
            simulation=SimulationConfig(dropout=DROPOUT),
            engine=EngineConfig(
                "flower" if flower else "local",
                cohort_size=1 if flower else 4,
                workers=2 if self.engine == "workers" else 1,
                threads=1,
                eval_every=2,
                checkpoint_every=2,
                device="cpu",
            ),
            flower=FlowerConfig(nodes=2, connect_s=120.0, settle_s=60.0, timeout_s=60.0),
        )


# Flower's own engine takes half a minute to start: these have every value of every key, and XNoise with both kinds.
RAY = (
    Combination("gaussian", "local", "client", "smpc", "clients", "oversize", "ray"),
    Combination("discrete_gaussian", "distributed", "example", "smpc", "clients", "xnoise", "ray"),
    Combination("skellam", "distributed", "client", "smpc", "both", "xnoise", "ray"),
    Combination("discrete_gaussian", "distributed", "client", "smpc", "aggregators", "oversize", "ray"),
)


def every_combination(engine: str) -> Iterator[Combination]:
    """The whole product for one engine."""
    for values in itertools.product(MECHANISMS, TRUSTS, UNITS, BACKENDS, BY, SCHEMES):
        yield Combination(*values, engine)


def possible_combinations(engine: str) -> list[Combination]:
    """What the configuration allows."""
    return [found for found in every_combination(engine) if refusal(found.config()) is None]


def covering(combinations: Sequence[Combination]) -> list[Combination]:
    """A few of them, among which any two values that stand together in one of all do so too."""
    left = {pair for found in combinations for pair in _pairs(found)}
    chosen: list[Combination] = []
    while left:
        best = max(combinations, key=lambda found: len(left & _pairs(found)))
        chosen.append(best)
        left -= _pairs(best)
    return chosen


def measured_combinations(engine: str) -> list[Combination]:
    """What `bench.variance` opens.

    Workers take many seconds to start, and compute the local engine's bits, as the suite tests: of them a covering few.
    Flower's own engine takes longer, and its nodes are those of `flower`: of it `RAY`.
    """
    if engine == "ray":
        return list(RAY)
    possible = possible_combinations(engine)
    return covering(possible) if engine == "workers" else possible


@cache
def suite_combinations(engine: str) -> tuple[Combination, ...]:
    """What the suite opens: with engine `local` a covering few, of `flower`'s the first of them; the others none."""
    return tuple(covering(possible_combinations(engine))[: {"local": None, "flower": 4}.get(engine, 0)])


def covered_by(cell: Combination) -> list[str]:
    """Tests of the suite that open sums of zeros in a combination, or show that its bits are those of another engine.

    Those below the engines (`test_rounds.py`, `test_realised_noise.py`) know no unit and no engine: a client's vector
    is zeros there, whatever made it.
    """
    c, found = cell, []
    rounds, realised = "tests/fl_core/test_rounds.py::", "tests/fl_core/test_realised_noise.py::"
    plain = (c.by, c.scheme) == ("clients", "oversize")
    if plain and c.mechanism != "skellam":
        found.append(f"{rounds}test_the_variance_of_a_million_zeros_is_what_the_ledger_says")
    if (c.trust, c.backend) == ("distributed", "plaintext") and c.mechanism != "gaussian":
        found.append(f"{rounds}test_the_variance_is_what_the_ledger_says_at_0_to_50_percent_drop_outs")
    if c.by != "clients" and c.mechanism == "discrete_gaussian":
        found.append(f"{rounds}test_the_aggregators_own_noise_is_in_the_sum_as_the_ledger_says")
    if c.trust == "distributed" and c.mechanism != "gaussian" and (c.backend == "plaintext" or not plain):
        found.append(f"{realised}test_the_variance_of_an_opened_sum_is_what_the_ledger_says")
    if c.engine == "workers":
        pool = "tests/fl_core/engines/test_worker_pool.py::"
        sealed = "test_workers_seal_what_the_parties_open_to_the_same_bits"
        bare = "test_the_number_of_workers_changes_no_bit_of_a_seeded_run"
        found.append(pool + (sealed if c.backend == "smpc" else bare))
    if c.engine in ("flower", "ray"):
        found.append("tests/fl_core/engines/flower/test_source.py::test_the_adapter_has_the_local_engines_bits")
    if c in suite_combinations(c.engine):
        found.append(
            "tests/bench/variance/test_variance.py::test_the_variance_of_a_sum_of_zeros_is_what_the_ledger_says"
        )
    return found


def _pairs(combination: Combination) -> set[tuple[tuple[str, str], ...]]:
    return set(itertools.combinations(asdict(combination).items(), 2))
