"""Which configurations are possible: ranges of single values, and values that exclude each other.

Takes a typed `RunConfig`; gives nothing, or one sentence that names the key, its value and what is allowed. It must
never correct a value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from fl_core.config import ConfigError, RunConfig
from fl_core.engine_check import check_engines

__all__ = ["check"]

# The kernels' own bound (`kernels.clip_sum.MIN_CLIP_NORM`), whose module would load torch for a look at a file.
_MIN_CLIP_NORM = 1e-9
# `fl_core.adaptive_clipping.FARTHEST`, for the same reason.
_FARTHEST = 1000.0

_Need = Callable[[bool, str, object, str], None]


def check(config: RunConfig, where: str) -> None:
    """Refuse values out of range and combinations that cannot be.

    Raises:
        ConfigError: on the first problem found.
    """

    def need(condition: bool, key: str, value: object, allowed: str) -> None:
        if not condition:
            raise ConfigError(f"{where}: {key} is {value}; allowed: {allowed}")

    def choice(key: str, value: str, *allowed: str) -> None:
        need(value in allowed, key, repr(value), ", ".join(allowed))

    d, f, p, s, a = (
        config.data,
        config.federation,
        config.privacy,
        config.server,
        config.aggregation,
    )
    choice("data.partition", d.partition, "iid", "dirichlet", "natural")
    choice("data.fallback", d.fallback, "embedded", "refuse")
    need(d.sequence_length >= 2, "data.sequence_length", d.sequence_length, "2 or more")
    need(d.test_sequences >= 1, "data.test_sequences", d.test_sequences, "1 or more")
    need(_positive(d.alpha), "data.alpha", d.alpha, "a number above 0")
    choice("privacy.unit", p.unit, "example", "client")
    choice("privacy.trust", p.trust, "none", "central", "local", "distributed")
    choice("privacy.mechanism", p.mechanism, "gaussian", "discrete_gaussian", "skellam")
    choice("privacy.clipping", p.clipping, "fixed", "adaptive")
    choice("noise.by", config.noise.by, "clients", "aggregators", "both")
    choice("noise.dropout", config.noise.dropout, "oversize", "xnoise")
    choice("aggregation.backend", a.backend, "plaintext", "smpc")
    choice("simulation.noise", config.simulation.noise, "per_client", "aggregate")
    choice("server.optimizer", s.optimizer, "sgd", "momentum", "adam")
    choice("server.schedule", s.schedule, "constant", "cosine", "linear")
    choice("model.name", config.model.name, "cnn")
    need(config.model.base.strip() != "", "model.base", "empty", "mini, a folder or a hub name")
    choice("model.quantisation", config.model.quantisation, "none", "8bit", "4bit")

    need(f.clients >= 1, "federation.clients", f.clients, "1 or more")
    need(f.rounds >= 1, "federation.rounds", f.rounds, "1 or more")
    need(0 < f.sample_rate <= 1, "federation.sample_rate", f.sample_rate, "above 0 and at most 1")
    need(
        1 <= config.n_min <= f.clients,
        "federation.n_min",
        config.n_min,
        f"1 to federation.clients ({f.clients})",
    )
    need(
        0 <= f.colluders < config.n_min,
        "federation.colluders",
        f.colluders,
        f"0 to federation.n_min - 1 ({config.n_min - 1})",
    )
    need(_MIN_CLIP_NORM <= p.clip_norm < math.inf, "privacy.clip_norm", p.clip_norm, f"{_MIN_CLIP_NORM:g} or more")
    need(0 < p.delta < 1, "privacy.delta", p.delta, "above 0 and below 1")
    need(4 <= p.scale_bits <= 40, "privacy.scale_bits", p.scale_bits, "4 to 40")
    need(
        1 <= p.clip_norm * 2**p.scale_bits <= 2**40,
        "privacy.clip_norm * 2^privacy.scale_bits",
        p.clip_norm * 2**p.scale_bits,
        "1 to 2^40 grid steps",
    )
    _check_clipping(config, need)
    if p.trust == "none":
        need(
            p.epsilon is None and p.noise_multiplier is None,
            "privacy.epsilon or privacy.noise_multiplier",
            "set while privacy.trust is none (no noise is added)",
            "no epsilon with trust none, or trust central, local or distributed",
        )
    else:
        need(
            (p.epsilon is None) != (p.noise_multiplier is None),
            "privacy.epsilon and privacy.noise_multiplier",
            "both set" if p.epsilon is not None else "both missing",
            f"exactly one of them with trust {p.trust}",
        )
        need(p.epsilon is None or _positive(p.epsilon), "privacy.epsilon", p.epsilon, "a number above 0")
        need(
            p.noise_multiplier is None or _positive(p.noise_multiplier),
            "privacy.noise_multiplier",
            p.noise_multiplier,
            "a number above 0",
        )
    if p.budget is not None:
        need(p.budget.strip() != "", "privacy.budget", "empty", "a folder, or null")
        need(
            p.trust != "none" and p.insecure_seed is None,
            "privacy.budget",
            f"{p.budget!r} while " + ("privacy.trust is none" if p.trust == "none" else "privacy.insecure_seed is set"),
            "null for a run that is not private: no budget has room for it",
        )
    need(a.parties >= 2, "aggregation.parties", a.parties, "2 or more (one party alone would see every update)")
    need(_positive(a.timeout_s), "aggregation.timeout_s", a.timeout_s, "seconds above 0")
    need(a.retries >= 0, "aggregation.retries", a.retries, "0 or more")
    _check_noise(config, need)
    _check_sums(config, need)
    need(0 <= config.simulation.dropout < 1, "simulation.dropout", config.simulation.dropout, "0 to below 1")
    need(
        config.simulation.dropout == 0 or config.n_min < f.clients,
        "simulation.dropout",
        f"{config.simulation.dropout} while federation.n_min asks for all {f.clients} clients",
        "0, or federation.n_min below federation.clients",
    )
    cohort = config.simulation.noise_cohort
    need(
        cohort is None or cohort > f.clients,
        "simulation.noise_cohort",
        cohort,
        f"more than federation.clients ({f.clients}), or null",
    )
    need(
        cohort is None or p.trust in ("central", "distributed"),
        "simulation.noise_cohort",
        f"{cohort} while privacy.trust is {p.trust}",
        "null, or privacy.trust central or distributed (noise that does not grow with the clients)",
    )
    need(_positive(s.learning_rate), "server.learning_rate", s.learning_rate, "a number above 0")
    need(0 <= s.momentum < 1, "server.momentum", s.momentum, "0 to below 1")
    need(0 <= s.beta2 < 1, "server.beta2", s.beta2, "0 to below 1")
    need(_positive(s.adam_epsilon), "server.adam_epsilon", s.adam_epsilon, "a number above 0")
    c = config.client
    need(c.steps >= 1, "client.steps", c.steps, "1 or more")
    need(c.batch_size >= 1, "client.batch_size", c.batch_size, "1 or more")
    need(_positive(c.learning_rate), "client.learning_rate", c.learning_rate, "a number above 0")
    need(config.lora.rank >= 1, "lora.rank", config.lora.rank, "1 or more")
    need(_positive(config.lora.alpha), "lora.alpha", config.lora.alpha, "a number above 0")
    for layer in (*config.lora.ranks, *config.lora.alphas):
        need(layer in config.lora.targets, f"lora.ranks or lora.alphas: {layer}", "not in lora.targets", "its layers")
    for layer, rank in config.lora.ranks.items():
        need(rank >= 1, f"lora.ranks.{layer}", rank, "1 or more")
    for layer, alpha in config.lora.alphas.items():
        need(_positive(alpha), f"lora.alphas.{layer}", alpha, "a number above 0")
    m = config.model
    need(len(m.channels) == 2 and min(m.channels) >= 1, "model.channels", m.channels, "two numbers above 0")
    need(m.pretrain.epochs >= 0, "model.pretrain.epochs", m.pretrain.epochs, "0 or more")
    need(_positive(m.pretrain.learning_rate), "model.pretrain.learning_rate", m.pretrain.learning_rate, "above 0")
    need(m.pretrain.shift >= 0, "model.pretrain.shift", m.pretrain.shift, "0 or more pixels")
    smoothing = m.pretrain.label_smoothing
    need(0 <= smoothing < 1, "model.pretrain.label_smoothing", smoothing, "0 to below 1")
    need(m.pretrain.batch_size >= 1, "model.pretrain.batch_size", m.pretrain.batch_size, "1 or more")
    need(config.tracking.project.strip() != "", "tracking.project", "empty", "a name")
    check_engines(config, need)
    for key, value in _floats(asdict(config)):  # what no rule above is about
        need(math.isfinite(value), key, value, "a finite number")


def _check_clipping(config: RunConfig, need: _Need) -> None:
    """Settings of adaptive clipping, and room for the norm to move and for a coordinate of a tenth of it."""
    p = config.privacy
    need(0 < p.clip_quantile < 1, "privacy.clip_quantile", p.clip_quantile, "above 0 and below 1")
    need(_positive(p.clip_learning_rate), "privacy.clip_learning_rate", p.clip_learning_rate, "a number above 0")
    if p.clipping != "adaptive":
        return
    need(
        p.clip_norm / _FARTHEST >= _MIN_CLIP_NORM,
        "privacy.clip_norm",
        f"{p.clip_norm} while privacy.clipping is adaptive",
        f"above {_FARTHEST * _MIN_CLIP_NORM:g} (the norm may fall to a thousandth), or privacy.clipping fixed",
    )
    need(
        10 <= p.clip_norm * 2**p.scale_bits <= 2**39,
        "privacy.clip_norm * 2^privacy.scale_bits",
        f"{p.clip_norm * 2**p.scale_bits} while privacy.clipping is adaptive",
        "10 to 2^39 grid steps (norms are told in a coordinate of a tenth of them), or privacy.clipping fixed",
    )


def _check_noise(config: RunConfig, need: _Need) -> None:
    """In whose hands the noise is, and whether it can outlive drop-outs the way that was asked for."""
    p, f, by = config.privacy, config.federation, config.noise.by
    backend, simulated = config.aggregation.backend, config.simulation.noise
    distributed = (p.trust == "distributed", f"privacy.trust is {p.trust}", "privacy.trust distributed")
    if by != "clients":
        for possible, because, instead in (
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
        ):
            need(possible, "noise.by", f"{by!r} while {because}", f"clients, or {instead}")
    if config.noise.dropout == "xnoise":
        for possible, because, instead in (
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
            (
                simulated == "per_client",
                f"simulation.noise is {simulated!r}",
                "simulation.noise per_client (each client's surplus is taken away by itself)",
            ),
            (
                config.n_min < f.clients,
                f"federation.n_min asks for all {f.clients} clients",
                "federation.n_min below federation.clients (else there is no drop-out to make up for)",
            ),
        ):
            need(possible, "noise.dropout", f"'xnoise' while {because}", f"oversize, or {instead}")


def _check_sums(config: RunConfig, need: _Need) -> None:
    """Ring, difference between openings, deployment and norm check."""
    a, by, unit, simulated = config.aggregation, config.noise.by, config.privacy.unit, config.simulation.noise
    need(a.ring_bits is None or 2 <= a.ring_bits <= 64, "aggregation.ring_bits", a.ring_bits, "2 to 64, or null")
    need(
        a.min_difference is None or 1 <= a.min_difference <= config.federation.clients,
        "aggregation.min_difference",
        a.min_difference,
        f"1 to federation.clients ({config.federation.clients}), or null for federation.n_min",
    )
    smpc = (a.backend == "smpc", f"aggregation.backend is {a.backend}", "aggregation.backend smpc")
    if a.deployment is not None:
        need(a.deployment.strip() != "", "aggregation.deployment", "empty", "a folder, or null")
        possible, because, instead = smpc
        need(possible, "aggregation.deployment", f"{a.deployment!r} while {because}", f"null, or {instead}")
    if a.norm_check:
        for possible, because, instead in (
            smpc,
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
                a.ring_bits in (None, 64),
                f"aggregation.ring_bits is {a.ring_bits}",
                "aggregation.ring_bits 64 or null (squares must fit the ring)",
            ),
            (
                simulated == "per_client",
                f"simulation.noise is {simulated!r}",
                "simulation.noise per_client (each client's vector is checked by itself)",
            ),
        ):
            need(possible, "aggregation.norm_check", f"true while {because}", f"false, or {instead}")


def _floats(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Every number that is no integer, by its key."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _floats(value, f"{prefix}{key}.")
        elif isinstance(value, float):
            yield prefix + key, value


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
