"""What is trained, on what and how: data, model, adapter, clients' and server's steps, federation."""

from __future__ import annotations

from fl_core.config import RunConfig
from fl_core.config_check.refusals import Need, positive

__all__ = ["check_data", "check_federation", "check_training"]


def check_data(config: RunConfig, need: Need) -> None:
    """Refuse values of the section data."""
    d = config.data
    need(d.sequence_length >= 2, "data.sequence_length", d.sequence_length, "2 or more")
    need(d.test_sequences >= 1, "data.test_sequences", d.test_sequences, "1 or more")
    need(positive(d.alpha), "data.alpha", d.alpha, "a number above 0")


def check_federation(config: RunConfig, need: Need) -> None:
    """Refuse values of the section federation."""
    f, n_min = config.federation, config.n_min
    need(f.clients >= 1, "federation.clients", f.clients, "1 or more")
    need(f.rounds >= 1, "federation.rounds", f.rounds, "1 or more")
    need(0 < f.sample_rate <= 1, "federation.sample_rate", f.sample_rate, "above 0 and at most 1")
    need(1 <= n_min <= f.clients, "federation.n_min", n_min, f"1 to federation.clients ({f.clients})")
    need(0 <= f.colluders < n_min, "federation.colluders", f.colluders, f"0 to federation.n_min - 1 ({n_min - 1})")


def check_training(config: RunConfig, need: Need) -> None:
    """Refuse values of the sections server, client, lora and model."""
    s = config.server
    need(positive(s.learning_rate), "server.learning_rate", s.learning_rate, "a number above 0")
    need(0 <= s.momentum < 1, "server.momentum", s.momentum, "0 to below 1")
    need(0 <= s.beta2 < 1, "server.beta2", s.beta2, "0 to below 1")
    need(positive(s.adam_epsilon), "server.adam_epsilon", s.adam_epsilon, "a number above 0")
    c = config.client
    need(c.steps >= 1, "client.steps", c.steps, "1 or more")
    need(c.batch_size >= 1, "client.batch_size", c.batch_size, "1 or more")
    need(positive(c.learning_rate), "client.learning_rate", c.learning_rate, "a number above 0")
    _check_adapter(config, need)
    _check_model(config, need)


def _check_adapter(config: RunConfig, need: Need) -> None:
    a = config.lora
    need(a.rank >= 1, "lora.rank", a.rank, "1 or more")
    need(positive(a.alpha), "lora.alpha", a.alpha, "a number above 0")
    for layer in (*a.ranks, *a.alphas):
        need(layer in a.targets, f"lora.ranks or lora.alphas: {layer}", "not in lora.targets", "its layers")
    for layer, rank in a.ranks.items():
        need(rank >= 1, f"lora.ranks.{layer}", rank, "1 or more")
    for layer, alpha in a.alphas.items():
        need(positive(alpha), f"lora.alphas.{layer}", alpha, "a number above 0")


def _check_model(config: RunConfig, need: Need) -> None:
    m, p = config.model, config.model.pretrain
    need(m.base.strip() != "", "model.base", "empty", "mini, a folder or a hub name")
    need(len(m.channels) == 2 and min(m.channels) >= 1, "model.channels", m.channels, "two numbers above 0")
    need(p.epochs >= 0, "model.pretrain.epochs", p.epochs, "0 or more")
    need(positive(p.learning_rate), "model.pretrain.learning_rate", p.learning_rate, "above 0")
    need(p.shift >= 0, "model.pretrain.shift", p.shift, "0 or more pixels")
    need(0 <= p.label_smoothing < 1, "model.pretrain.label_smoothing", p.label_smoothing, "0 to below 1")
    need(p.batch_size >= 1, "model.pretrain.batch_size", p.batch_size, "1 or more")
