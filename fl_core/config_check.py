"""Which configurations are possible: ranges of single values, and values that exclude each other.

Takes a typed `RunConfig`; gives nothing, or one sentence that names the key, its value and what is allowed. It must
never correct a value.
"""

from __future__ import annotations

import math

from fl_core.config import ConfigError, RunConfig

__all__ = ["check"]

# The kernels' own bound (`kernels.clip_sum.MIN_CLIP_NORM`), whose module would load torch for a look at a file.
_MIN_CLIP_NORM = 1e-9


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

    d, f, p, s, a, e = (
        config.data,
        config.federation,
        config.privacy,
        config.server,
        config.aggregation,
        config.engine,
    )
    choice("data.partition", d.partition, "iid", "dirichlet")
    need(_positive(d.alpha), "data.alpha", d.alpha, "a number above 0")
    choice("privacy.unit", p.unit, "example", "client")
    choice("privacy.trust", p.trust, "none", "central", "local", "distributed")
    choice("privacy.mechanism", p.mechanism, "gaussian", "discrete_gaussian")
    choice("aggregation.backend", a.backend, "plaintext", "smpc")
    choice("simulation.noise", config.simulation.noise, "per_client", "aggregate")
    choice("server.optimizer", s.optimizer, "sgd", "momentum", "adam")
    choice("server.schedule", s.schedule, "constant", "cosine", "linear")
    choice("model.name", config.model.name, "cnn")

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
    need(a.parties >= 2, "aggregation.parties", a.parties, "2 or more (one party alone would see every update)")
    need(_positive(a.timeout_s), "aggregation.timeout_s", a.timeout_s, "seconds above 0")
    need(a.retries >= 0, "aggregation.retries", a.retries, "0 or more")
    need(0 <= config.simulation.dropout < 1, "simulation.dropout", config.simulation.dropout, "0 to below 1")
    need(
        config.simulation.dropout == 0 or config.n_min < f.clients,
        "simulation.dropout",
        f"{config.simulation.dropout} while federation.n_min asks for all {f.clients} clients",
        "0, or federation.n_min below federation.clients",
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
    need(
        len(config.lora.targets) >= 1,
        "lora.targets",
        config.lora.targets,
        "at least one layer name, for example [fc]",
    )
    for layer in (*config.lora.ranks, *config.lora.alphas):
        need(layer in config.lora.targets, f"lora.ranks or lora.alphas: {layer}", "not in lora.targets", "its layers")
    for layer, rank in config.lora.ranks.items():
        need(rank >= 1, f"lora.ranks.{layer}", rank, "1 or more")
    for layer, alpha in config.lora.alphas.items():
        need(_positive(alpha), f"lora.alphas.{layer}", alpha, "a number above 0")
    m = config.model
    need(len(m.channels) == 2 and min(m.channels) >= 1, "model.channels", m.channels, "two numbers above 0")
    need(m.pretrain.epochs >= 0, "model.pretrain.epochs", m.pretrain.epochs, "0 or more")
    need(m.pretrain.batch_size >= 1, "model.pretrain.batch_size", m.pretrain.batch_size, "1 or more")
    need(e.batch_size >= 1, "engine.batch_size", e.batch_size, "1 or more")
    need(e.eval_every >= 1, "engine.eval_every", e.eval_every, "1 or more")
    need(e.checkpoint_every >= 1, "engine.checkpoint_every", e.checkpoint_every, "1 or more")
    need(e.threads is None or e.threads >= 1, "engine.threads", e.threads, "1 or more")


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
