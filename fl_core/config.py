"""The configuration of a run as typed, frozen dataclasses: every key, its type, its default and what it means.

Data only: `fl_core.config_file` reads and writes it, `fl_core.config_check` says which values are possible.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from secagg.errors import SottoError

__all__ = [
    "AggregationConfig",
    "ClientConfig",
    "ConfigError",
    "DataConfig",
    "EngineConfig",
    "FederationConfig",
    "FlowerConfig",
    "LoraSettings",
    "ModelConfig",
    "NoiseConfig",
    "PretrainConfig",
    "PrivacyConfig",
    "RunConfig",
    "ServerConfig",
    "SimulationConfig",
    "TrackingConfig",
]


class ConfigError(SottoError):
    """A key that is unknown, of the wrong type, or impossible together with another."""


@dataclass(frozen=True)
class DataConfig:
    """Which records there are and how they are divided over clients (simulation: the division is public)."""

    name: str = "mnist"  # of images or posts (`sotto data list`), or a folder of posts (`sotto data import`)
    classes: list[int] = field(default_factory=list)  # keep only these labels; empty: all
    partition: str = "iid"  # iid | dirichlet | natural (posts only: a client for each of the largest users)
    alpha: float = 0.5  # of the Dirichlet partition
    seed: int = 0  # public: the division of a public benchmark, not a secret
    # embedded (digits or topics are used, and named, when `name` is neither on disk nor reachable) | refuse
    fallback: str = "embedded"
    sequence_length: int = 20  # posts only: most tokens of one record, the end-of-text token before it included
    test_sequences: int = 2000  # posts only: scored while rounds run; all of them before the first and after the last


@dataclass(frozen=True)
class PretrainConfig:
    """Step 1 of the method: supervised training of the base on public data."""

    data: str = "fashion_mnist"  # public images
    classes: list[int] = field(default_factory=list)  # keep only these labels; empty: all
    epochs: int = 3  # 0: a base with random weights
    batch_size: int = 128  # images a step
    learning_rate: float = 2e-3  # of Adam
    shift: int = 2  # random translation of a batch, in pixels
    label_smoothing: float = 0.2  # share of the target that is spread over all classes
    seed: int = 0  # public: of initial weights, order and translations


@dataclass(frozen=True)
class ModelConfig:
    """The frozen base model."""

    name: str = "cnn"  # of images
    base: str = "mini"  # of posts: mini (ships), a folder, or a hub name such as distilgpt2: any causal language model
    quantisation: str = "none"  # none | 8bit | 4bit: of a language model's frozen weights (bitsandbytes, CUDA)
    channels: list[int] = field(default_factory=lambda: [16, 32])  # of the two convolutions
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)


@dataclass(frozen=True)
class LoraSettings:
    """The trainable adapter, made by PEFT."""

    rank: int = 4  # rows of A, columns of B
    alpha: float = 8.0  # the product BA is scaled by alpha / rank
    targets: list[str] = field(default_factory=list)  # layer names; empty: what suits the architecture
    blocks: list[int] = field(default_factory=list)  # of a language model, -1 its last; empty: all
    ranks: dict[str, int] = field(default_factory=dict)  # layers whose rank is not `rank`
    alphas: dict[str, float] = field(default_factory=dict)  # layers whose alpha is not `alpha`
    seed: int = 0  # public initial value of the adapter


@dataclass(frozen=True)
class FederationConfig:
    """Clients and rounds."""

    clients: int = 100  # who send a message in every round
    rounds: int = 100  # sums that are opened, if none is lost
    sample_rate: float = 0.1  # each record's (unit example) or each client's (unit client) own secret coin
    n_min: int | None = None  # below this many survivors nothing is opened; default: all clients
    colluders: int = 0  # clients assumed to tell the aggregators their noise; shares are sized for n_min - colluders


@dataclass(frozen=True)
class PrivacyConfig:
    """What is protected, from whom, and how strongly; epsilon or noise_multiplier, unless trust is none."""

    unit: str = "example"  # example | client
    trust: str = "distributed"  # none | central | local | distributed
    mechanism: str = "discrete_gaussian"  # gaussian | discrete_gaussian | skellam
    epsilon: float | None = None  # of the whole run, against the strongest adversary that `trust` names
    noise_multiplier: float | None = None  # instead: standard deviation of a sum's noise over the clip norm
    delta: float = 1e-5  # of every epsilon; well below one over the number of contributions
    # Folder of a budget (`sotto budget init`) that this run shares with others on the same data: no opening takes all
    # of them together beyond its epsilon, while `epsilon` above is what this run alone may spend.
    budget: str | None = None
    clip_norm: float = 1.0  # with adaptive clipping, of the first round
    clipping: str = "fixed"  # fixed | adaptive: the norm follows a quantile of the contributions' (0.5 % more noise)
    clip_quantile: float = 0.5  # share of contributions that adaptive clipping leaves whole
    clip_learning_rate: float = 0.2  # how fast adaptive clipping moves the norm, geometrically
    scale_bits: int = 20  # grid steps per unit: 2^scale_bits
    insecure_seed: int | None = None  # test mode: seeded noise, sampling and shares; the run is NOT private


@dataclass(frozen=True)
class NoiseConfig:
    """In whose hands the noise of trust distributed is, and how it outlives clients that vanish."""

    by: str = "clients"  # clients | aggregators (private while one party is honest, whoever drops out) | both
    # oversize: shares sized for n_min, so more survivors add more noise; xnoise: every client adds too much and the
    # parties take the surplus away, so that the sum has the noise that was asked for whoever dropped out.
    dropout: str = "oversize"


@dataclass(frozen=True)
class ClientConfig:
    """Local training of one client; used with unit client only (unit example sends one clipped-gradient sum)."""

    steps: int = 5  # of SGD that a client takes in a round
    batch_size: int = 32  # records of one of these steps
    learning_rate: float = 0.1  # of these steps


@dataclass(frozen=True)
class ServerConfig:
    """The server's optimiser on the opened, averaged sum."""

    optimizer: str = "momentum"  # sgd | momentum | adam
    learning_rate: float = 1.0  # of the server's steps
    momentum: float = 0.9  # of momentum, and first moment of adam
    beta2: float = 0.99  # second moment of adam
    adam_epsilon: float = 1e-3  # added to adam's root
    schedule: str = "constant"  # constant | cosine | linear, over the rounds


@dataclass(frozen=True)
class AggregationConfig:
    """Who sums."""

    backend: str = "smpc"  # plaintext | smpc
    parties: int = 3  # K; any K - 1 of them together learn nothing but the sum
    timeout_s: float = 60.0  # longest wait for a party
    retries: int = 2  # rounds re-run with fresh noise and shares after a failed party; each opening is counted
    ring_bits: int | None = None  # width of the ring on the wire, 2^ring_bits elements; default: narrowest that fits
    norm_check: bool = False  # drop a client's vector whose norm is too large, under MPC
    # Folder with the `parties.yaml` of parties that run already; default: the engine starts its own on this machine.
    deployment: str | None = None
    # Two openings of one model are over equal sets of clients or differ by this many at least; default: n_min.
    min_difference: int | None = None


@dataclass(frozen=True)
class SimulationConfig:
    """What only a simulation on one machine can do; all of it is named in the ledger and the output."""

    noise: str = "per_client"  # per_client | aggregate (the sum's noise drawn once)
    dropout: float = 0.0  # probability that a client vanishes in a round before it sends
    # Extrapolation to so many clients: as much noise as their average would have, on these clients' data. What is
    # opened of these clients is far less private than privacy.epsilon; ledger and output say how much less.
    noise_cohort: int | None = None


@dataclass(frozen=True)
class EngineConfig:
    """Which engine runs the rounds, and how it uses the machine; never changes a result beyond float rounding."""

    name: str = "local"  # local (this machine) | flower (each client computes on a Flower SuperNode)
    batch_size: int = 1024  # samples through the model at once; unit client: at least one client's batch
    cohort_size: int | None = None  # clients whose vectors are held, and who train, together; default: by cohort_gib
    # (1: every client computes alone, as under Flower, so that both engines give the same bits)
    cohort_gib: float = 1.0  # memory of a cohort's vectors, and of what local training keeps for its backward passes
    workers: int = 1  # processes that compute cohorts, each on a GPU of its own if there are some; changes no bit
    eval_every: int = 1  # rounds from one scoring to the next
    checkpoint_every: int = 1  # a killed process loses, and has paid for, at most the rounds since
    threads: int | None = None  # of this process's arithmetic; default: PyTorch's own choice
    keep_features: bool = True  # compute once what the frozen layers before all adapted ones give
    # disk: kept between runs under SOTTO_CACHE/frozen, for all processes of this user and for nobody else, as a
    # simulation's cache holds what its clients would hold | memory: of this process only
    features: str = "disk"
    features_gib: float = 4.0  # bound of the files together, and of one run's; what needs more is computed every round
    device: str = "auto"  # auto (cuda if there is one) | cpu | cuda


@dataclass(frozen=True)
class FlowerConfig:
    """The Flower engine's patience, and who carries sealed parts; used with engine.name flower only."""

    nodes: int | None = None  # virtual SuperNodes of a simulation, which share the clients; default: one a client
    timeout_s: float = 600.0  # longest wait for a round's messages; who has not answered by then is not in the sum
    connect_s: float = 300.0  # longest wait, before the first round, for SuperNodes
    # once federation.n_min clients are there: longest wait for one more of the others, who join in a later round else
    settle_s: float = 30.0
    # coordinator (the ServerApp hands sealed parts to the parties) | aggregators (SuperNodes with role "aggregator",
    # one beside each party, drop them into its spool)
    relay: str = "coordinator"
    # most answers that a client of a deployment gives under this configuration, in all runs of it; default:
    # federation.rounds x (aggregation.retries + 1)
    answers: int | None = None


@dataclass(frozen=True)
class TrackingConfig:
    """Services that are told of rounds beside the run folder; they get released numbers, and nothing else."""

    mlflow: bool = False  # at MLFLOW_TRACKING_URI, or else in the run folder's mlruns; needs mlflow-skinny
    wandb: bool = False  # offline in the run folder unless WANDB_MODE or WANDB_API_KEY is set; needs wandb
    project: str = "sotto"  # MLflow's experiment, W&B's project


@dataclass(frozen=True)
class RunConfig:
    """A whole run."""

    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraSettings = field(default_factory=LoraSettings)
    federation: FederationConfig = field(default_factory=FederationConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    client: ClientConfig = field(default_factory=ClientConfig)
    server: ServerConfig = field(default_factory=ServerConfig)
    aggregation: AggregationConfig = field(default_factory=AggregationConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    flower: FlowerConfig = field(default_factory=FlowerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)

    @property
    def n_min(self) -> int:
        """Fewest survivors whose sum may be opened."""
        return self.federation.clients if self.federation.n_min is None else self.federation.n_min
