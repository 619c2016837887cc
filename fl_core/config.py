"""The configuration of a run: typed dataclasses, loaded from YAML plus `key=value` overrides.

Takes a YAML file and overrides; gives one frozen `RunConfig` in which every key is known, typed and possible
together with the others. It must never fill in a value that changes privacy without saying so.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from secagg.errors import SottoError

__all__ = [
    "AggregationConfig",
    "ClientConfig",
    "ConfigError",
    "DataConfig",
    "EngineConfig",
    "FederationConfig",
    "LoraSettings",
    "ModelConfig",
    "PretrainConfig",
    "PrivacyConfig",
    "RunConfig",
    "ServerConfig",
    "SimulationConfig",
    "load_config",
    "load_yaml",
    "parse_config",
    "save_config",
    "to_dict",
]


class ConfigError(SottoError):
    """A key that is unknown, of the wrong type, or impossible together with another."""


@dataclass(frozen=True)
class DataConfig:
    """Which records there are and how they are divided over clients (simulation: the division is public)."""

    name: str = "mnist"
    classes: list[int] = field(default_factory=list)  # keep only these labels; empty: all
    partition: str = "iid"  # iid | dirichlet
    alpha: float = 0.5  # of the Dirichlet partition
    seed: int = 0  # public: the division of a public benchmark, not a secret
    fallback: str = "digits"  # embedded set used, and named, when `name` is neither on disk nor reachable; or refuse


@dataclass(frozen=True)
class PretrainConfig:
    """Step 1 of the method: supervised training of the base on public data."""

    data: str = "fashion_mnist"
    classes: list[int] = field(default_factory=list)
    epochs: int = 3
    batch_size: int = 128
    learning_rate: float = 2e-3
    shift: int = 2  # random translation of a batch, in pixels
    label_smoothing: float = 0.2
    seed: int = 0


@dataclass(frozen=True)
class ModelConfig:
    """The frozen base model."""

    name: str = "cnn"
    channels: list[int] = field(default_factory=lambda: [16, 32])
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)


@dataclass(frozen=True)
class LoraSettings:
    """The trainable adapter, made by PEFT."""

    rank: int = 4
    alpha: float = 8.0
    targets: list[str] = field(default_factory=lambda: ["fc"])
    ranks: dict[str, int] = field(default_factory=dict)  # layers whose rank is not `rank`
    alphas: dict[str, float] = field(default_factory=dict)  # layers whose alpha is not `alpha`
    seed: int = 0  # public initial value of the adapter


@dataclass(frozen=True)
class FederationConfig:
    """Clients and rounds."""

    clients: int = 100
    rounds: int = 100
    sample_rate: float = 0.1  # each record's (unit example) or each client's (unit client) own secret coin
    n_min: int | None = None  # below this many survivors nothing is opened; default: all clients
    colluders: int = 0  # clients assumed to tell the aggregators their noise; shares are sized for n_min - colluders


@dataclass(frozen=True)
class PrivacyConfig:
    """What is protected, from whom, and how strongly; epsilon or noise_multiplier, unless trust is none."""

    unit: str = "example"  # example | client
    trust: str = "distributed"  # none | central | local | distributed
    mechanism: str = "discrete_gaussian"  # gaussian | discrete_gaussian
    epsilon: float | None = None
    noise_multiplier: float | None = None
    delta: float = 1e-5
    clip_norm: float = 1.0
    scale_bits: int = 20  # grid steps per unit: 2^scale_bits
    insecure_seed: int | None = None  # test mode: seeded noise, sampling and shares; the run is NOT private


@dataclass(frozen=True)
class ClientConfig:
    """Local training of one client; used with unit client only (unit example sends one clipped-gradient sum)."""

    steps: int = 5
    batch_size: int = 32
    learning_rate: float = 0.1


@dataclass(frozen=True)
class ServerConfig:
    """The server's optimiser on the opened, averaged sum."""

    optimizer: str = "momentum"  # sgd | momentum | adam
    learning_rate: float = 1.0
    momentum: float = 0.9
    beta2: float = 0.99
    adam_epsilon: float = 1e-3
    schedule: str = "constant"  # constant | cosine | linear, over the rounds


@dataclass(frozen=True)
class AggregationConfig:
    """Who sums."""

    backend: str = "smpc"  # plaintext | smpc
    parties: int = 3
    timeout_s: float = 60.0
    retries: int = 2  # rounds re-run with fresh noise and shares after a failed party; each opening is counted


@dataclass(frozen=True)
class SimulationConfig:
    """What only a simulation on one machine can do; all of it is named in the ledger and the output."""

    noise: str = "per_client"  # per_client | aggregate (the sum's noise drawn once)
    dropout: float = 0.0  # probability that a client vanishes in a round before it sends


@dataclass(frozen=True)
class EngineConfig:
    """How the local engine uses the machine; never changes a result beyond float rounding."""

    batch_size: int = 1024  # samples through the model at once
    eval_every: int = 1
    checkpoint_every: int = 1  # a killed process loses, and has paid for, at most the rounds since
    threads: int | None = None
    keep_features: bool = True  # compute once what the frozen layers before all adapted ones give


@dataclass(frozen=True)
class RunConfig:
    """A whole run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraSettings = field(default_factory=LoraSettings)
    federation: FederationConfig = field(default_factory=FederationConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    client: ClientConfig = field(default_factory=ClientConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    aggregation: AggregationConfig = field(default_factory=AggregationConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)

    @property
    def n_min(self) -> int:
        """Fewest survivors whose sum may be opened."""
        return self.federation.clients if self.federation.n_min is None else self.federation.n_min


def load_config(path: Path, overrides: list[str]) -> RunConfig:
    """Read `path`, apply `key=value` overrides, check everything.

    Raises:
        ConfigError: one sentence naming the key and what is allowed.
    """
    return parse_config(load_yaml(path), overrides, str(path))


def load_yaml(path: Path) -> DictConfig:
    """A YAML mapping from disk.

    Raises:
        ConfigError: if the file is missing, unreadable, not YAML, or not a mapping.
    """
    if not path.is_file():
        raise ConfigError(f"config {path} does not exist; give the path of a YAML file")
    try:
        loaded = OmegaConf.load(path)
    except OSError as error:
        raise ConfigError(f"config {path} cannot be read: {error.strerror}") from None
    except Exception as error:  # yaml's and OmegaConf's own errors share no base class
        raise ConfigError(f"config {path} is not valid YAML: {_first_line(error)}") from None
    if isinstance(loaded, ListConfig):
        raise ConfigError(f"config {path} holds a list; it must be a mapping of sections such as data, privacy")
    assert isinstance(loaded, DictConfig)
    return loaded


def parse_config(loaded: DictConfig, overrides: list[str], where: str) -> RunConfig:
    """Merge a loaded mapping and overrides into the schema; `where` names the source in errors."""
    for item in overrides:
        key, sign, _ = item.partition("=")
        if not sign or not key:
            raise ConfigError(f"override {item!r} is not key=value, for example federation.clients=100")
        _check_known_key(key, f"override {item!r}")
    _check_known(loaded, RunConfig, where, "")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), loaded, OmegaConf.from_dotlist(overrides))
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "?"
        raise ConfigError(f"{where}: key {key}: {_first_line(error)}") from None
    except Exception as error:  # malformed override values reach yaml's own exceptions
        raise ConfigError(f"{where}: overrides {overrides}: {_first_line(error)}") from None
    assert isinstance(config, RunConfig)
    check(config, where)
    return config


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The resolved configuration as plain Python data."""
    plain = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def save_config(config: RunConfig, path: Path) -> None:
    """Write the resolved configuration as YAML."""
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)), encoding="utf-8")


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
    need(_positive(p.clip_norm), "privacy.clip_norm", p.clip_norm, "a number above 0")
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


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _check_known_key(key: str, where: str) -> None:
    schema: Any = RunConfig
    for depth, part in enumerate(key.split(".")):
        path = ".".join(key.split(".")[: depth + 1])
        if not (isinstance(schema, type) and is_dataclass(schema)):
            raise ConfigError(f"{where}: {path} is below a plain value; allowed: {path.rpartition('.')[0]}=value")
        schema = _require_field(schema, part, path, where)


def _check_known(node: DictConfig, schema: type, where: str, prefix: str) -> None:
    for key in node:
        path = f"{prefix}{key!s}"
        inner = _require_field(schema, str(key), path, where)
        value = node._get_node(str(key))
        if isinstance(inner, type) and is_dataclass(inner):
            if not isinstance(value, DictConfig):
                raise ConfigError(f"{where}: {path} must be a section with keys {_names(inner)}")
            _check_known(value, inner, where, f"{path}.")


def _require_field(schema: type, name: str, path: str, where: str) -> Any:
    for item in fields(schema):
        if item.name == name:
            factory: Any = item.default_factory
            return factory if is_dataclass(factory) else None
    close = difflib.get_close_matches(name, [item.name for item in fields(schema)], n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise ConfigError(f"{where}: unknown key {path}; {hint}allowed: {_names(schema)}")


def _names(schema: type) -> str:
    return ", ".join(item.name for item in fields(schema))
