"""What a private training on one machine promises: the privacy half of its arguments, beside `TrainingArguments`.

Takes the numbers of the guarantee; gives the `RunConfig` that calibration, ledger and budget work with. It must never
change a number that was given.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl_core.config import AggregationConfig, ConfigError, FederationConfig, PrivacyConfig, RunConfig
from fl_core.config_check import check

__all__ = ["PrivacyArguments"]


@dataclass(frozen=True)
class PrivacyArguments:
    """The guarantee of a private training: (epsilon, delta) for each record of the training data, zero-out adjacency.

    Attributes:
        epsilon: spent by the whole training, and never exceeded: the noise is calibrated to it before the first step.
        noise_multiplier: noise over clip norm instead; exactly one of the two is given.
        delta: of the guarantee; well below one over the number of records.
        clip_norm: L2 bound C of one record's gradient.
        mechanism: `discrete_gaussian` or `skellam`, proven for the integers that are drawn, or `gaussian`, whose
            epsilon is that of the idealised mechanism.
        scale_bits: the grid has 2^scale_bits steps per unit.
        budget: folder of a budget that several trainings on the same records share (`sotto budget init`).
        report_training_loss: log the training loss, which is about the records and has no noise. Off by default; the
            epsilon does not cover it.
    """

    epsilon: float | None = None
    noise_multiplier: float | None = None
    delta: float = 1e-5
    clip_norm: float = 1.0
    mechanism: str = "discrete_gaussian"
    scale_bits: int = 20
    budget: str | None = None
    report_training_loss: bool = False

    def __post_init__(self) -> None:
        try:
            check(self.as_run(0.5, 1), "PrivacyArguments")
        except ConfigError as error:
            raise ConfigError(str(error).replace("privacy.", "")) from None

    def as_run(self, sample_rate: float, steps: int) -> RunConfig:
        """The training as a run of one client whose server adds the noise.

        Args:
            sample_rate: probability with which each record takes part in a step.
            steps: optimiser steps.
        """
        privacy = PrivacyConfig(
            unit="example",
            trust="central",
            mechanism=self.mechanism,
            epsilon=self.epsilon,
            noise_multiplier=self.noise_multiplier,
            delta=self.delta,
            budget=self.budget,
            clip_norm=self.clip_norm,
            scale_bits=self.scale_bits,
        )
        return RunConfig(
            federation=FederationConfig(clients=1, rounds=steps, sample_rate=sample_rate),
            privacy=privacy,
            aggregation=AggregationConfig(backend="plaintext"),
        )
