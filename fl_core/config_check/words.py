"""Keys whose value is one of a few words. They come first: rules about several keys rely on them."""

from __future__ import annotations

from fl_core.config import RunConfig
from fl_core.config_check.refusals import Need

__all__ = ["check_words"]


def check_words(config: RunConfig, need: Need) -> None:
    """Refuse a word that is none of its key's."""
    p = config.privacy
    for key, value, allowed in (
        ("data.partition", config.data.partition, ("iid", "dirichlet", "natural")),
        ("data.fallback", config.data.fallback, ("embedded", "refuse")),
        ("privacy.unit", p.unit, ("example", "client")),
        ("privacy.trust", p.trust, ("none", "central", "local", "distributed")),
        ("privacy.mechanism", p.mechanism, ("gaussian", "discrete_gaussian", "skellam")),
        ("privacy.clipping", p.clipping, ("fixed", "adaptive")),
        ("noise.by", config.noise.by, ("clients", "aggregators", "both")),
        ("noise.dropout", config.noise.dropout, ("oversize", "xnoise")),
        ("aggregation.backend", config.aggregation.backend, ("plaintext", "smpc")),
        ("simulation.noise", config.simulation.noise, ("per_client", "aggregate")),
        ("server.optimizer", config.server.optimizer, ("sgd", "momentum", "adam")),
        ("server.schedule", config.server.schedule, ("constant", "cosine", "linear")),
        ("model.name", config.model.name, ("cnn",)),
        ("model.quantisation", config.model.quantisation, ("none", "8bit", "4bit")),
        ("engine.name", config.engine.name, ("local", "flower")),
        ("engine.device", config.engine.device, ("auto", "cpu", "cuda")),
        ("engine.features", config.engine.features, ("disk", "memory")),
        ("flower.relay", config.flower.relay, ("coordinator", "aggregators")),
    ):
        need(value in allowed, key, repr(value), ", ".join(allowed))
