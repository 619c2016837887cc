"""Who sums and whose noise is in the sums: parties, ring, deployment, drop-outs, and what a simulation does."""

from __future__ import annotations

from fl_core.config import RunConfig
from fl_core.config_check.refusals import Condition, Need, need_all, positive

__all__ = ["check_aggregation", "check_noise", "check_simulation"]


def check_aggregation(config: RunConfig, need: Need) -> None:
    """Refuse values of the section aggregation."""
    a = config.aggregation
    need(a.parties >= 2, "aggregation.parties", a.parties, "2 or more (one party alone would see every update)")
    need(positive(a.timeout_s), "aggregation.timeout_s", a.timeout_s, "seconds above 0")
    need(a.retries >= 0, "aggregation.retries", a.retries, "0 or more")
    need(a.ring_bits is None or 2 <= a.ring_bits <= 64, "aggregation.ring_bits", a.ring_bits, "2 to 64, or null")
    need(
        a.min_difference is None or 1 <= a.min_difference <= config.federation.clients,
        "aggregation.min_difference",
        a.min_difference,
        f"1 to federation.clients ({config.federation.clients}), or null for federation.n_min",
    )
    if a.deployment is not None:
        need(a.deployment.strip() != "", "aggregation.deployment", "empty", "a folder, or null")
        need_all(need, "aggregation.deployment", repr(a.deployment), "null", [_smpc(config)])
    if a.norm_check:
        _check_norm_check(config, need)


def check_noise(config: RunConfig, need: Need) -> None:
    """Refuse values of the section noise: in whose hands it is, and how it outlives drop-outs."""
    p, f, by = config.privacy, config.federation, config.noise.by
    backend = config.aggregation.backend
    distributed = (p.trust == "distributed", f"privacy.trust is {p.trust}", "privacy.trust distributed")
    if by != "clients":
        conditions: tuple[Condition, ...] = (
            distributed,
            (
                backend == "smpc",
                f"aggregation.backend is {backend}",
                "aggregation.backend smpc (noise hides nothing from the one aggregator that drew it)",
            ),
            (
                p.insecure_seed is None,
                f"privacy.insecure_seed is {p.insecure_seed}",
                "privacy.insecure_seed null (aggregators draw from their operating systems and cannot be seeded)",
            ),
        )
        need_all(need, "noise.by", repr(by), "clients", conditions)
    if config.noise.dropout == "xnoise":
        conditions = (
            distributed,
            (
                by != "aggregators",
                f"noise.by is {by!r}",
                "noise.by clients or both (aggregators' noise does not shrink when clients vanish)",
            ),
            (
                p.mechanism != "gaussian",
                f"privacy.mechanism is {p.mechanism}",
                "privacy.mechanism discrete_gaussian or skellam (whole numbers can be taken away exactly)",
            ),
            _per_client(config, "each client's surplus is taken away by itself"),
            (
                config.n_min < f.clients,
                f"federation.n_min asks for all {f.clients} clients",
                "federation.n_min below federation.clients (else there is no drop-out to make up for)",
            ),
        )
        need_all(need, "noise.dropout", "'xnoise'", "oversize", conditions)


def check_simulation(config: RunConfig, need: Need) -> None:
    """Refuse values of the section simulation."""
    dropout, cohort = config.simulation.dropout, config.simulation.noise_cohort
    clients, trust = config.federation.clients, config.privacy.trust
    need(0 <= dropout < 1, "simulation.dropout", dropout, "0 to below 1")
    if dropout > 0:
        some = (
            config.n_min < clients,
            f"federation.n_min asks for all {clients} clients",
            "federation.n_min below federation.clients",
        )
        need_all(need, "simulation.dropout", dropout, "0", [some])
    if cohort is not None:
        need(cohort > clients, "simulation.noise_cohort", cohort, f"more than federation.clients ({clients}), or null")
        fixed = (
            trust in ("central", "distributed"),
            f"privacy.trust is {trust}",
            "privacy.trust central or distributed (noise that does not grow with the clients)",
        )
        need_all(need, "simulation.noise_cohort", cohort, "null", [fixed])


def _check_norm_check(config: RunConfig, need: Need) -> None:
    unit, by, bits = config.privacy.unit, config.noise.by, config.aggregation.ring_bits
    conditions = (
        _smpc(config),
        (
            unit == "client",
            f"privacy.unit is {unit}",
            "privacy.unit client (a client's sum of many examples has no norm to keep to)",
        ),
        (
            by == "aggregators",
            f"noise.by is {by!r}",
            "noise.by aggregators (a client's own noise would count into its norm)",
        ),
        (
            bits in (None, 64),
            f"aggregation.ring_bits is {bits}",
            "aggregation.ring_bits 64 or null (squares must fit the ring)",
        ),
        _per_client(config, "each client's vector is checked by itself"),
    )
    need_all(need, "aggregation.norm_check", "true", "false", conditions)


def _smpc(config: RunConfig) -> Condition:
    backend = config.aggregation.backend
    return backend == "smpc", f"aggregation.backend is {backend}", "aggregation.backend smpc"


def _per_client(config: RunConfig, why: str) -> Condition:
    drawn = config.simulation.noise
    return drawn == "per_client", f"simulation.noise is {drawn!r}", f"simulation.noise per_client ({why})"
