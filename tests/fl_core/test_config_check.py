"""Every impossible value or combination is one sentence that names the key and what is allowed."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from fl_core.config import ConfigError, RunConfig
from fl_core.config_check import privacy as privacy_check
from fl_core.config_file import parse_config
from kernels.clip_sum import MIN_CLIP_NORM

PLAINTEXT, SEEDED, AGGREGATE = "aggregation.backend=plaintext", "privacy.insecure_seed=1", "simulation.noise=aggregate"


def parse(*overrides):
    return parse_config(OmegaConf.create({"privacy": {"epsilon": 2.0}}), list(overrides), "run.yaml")


def test_the_smallest_clip_norm_is_the_kernels_own():
    assert privacy_check.MIN_CLIP_NORM == MIN_CLIP_NORM


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["federation.client=5"], "unknown key federation.client; did you mean clients"),
        (["privacyy.epsilon=1"], "did you mean privacy"),
        (["privacy.epsilon.value=1"], "below a plain value"),
        (["federation.clients=many"], "federation.clients"),
        (["federation.clients"], "is not key=value"),
        (["federation.clients=0"], "federation.clients is 0; allowed: 1 or more"),
        (["federation.n_min=101"], "federation.n_min is 101; allowed: 1 to federation.clients \\(100\\)"),
        (["federation.n_min=10", "federation.colluders=10"], "federation.colluders is 10; allowed: 0 to"),
        (["federation.sample_rate=0"], "sample_rate"),
        (["federation.sample_rate=1.5"], "sample_rate"),
        (["privacy.trust=none"], "trust is none"),
        (["privacy.trust=nobody"], "none, central, local, distributed"),
        (["privacy.noise_multiplier=1"], "epsilon is set, and so is privacy.noise_multiplier"),
        (["privacy.epsilon=null"], "epsilon is missing, and so is privacy.noise_m"),
        (["privacy.epsilon=-1"], "privacy.epsilon is -1"),
        (["privacy.epsilon=.nan"], "privacy.epsilon is nan"),
        (["privacy.delta=1"], "privacy.delta"),
        (["privacy.clip_norm=0"], "privacy.clip_norm"),
        (["privacy.clip_norm=.inf"], "privacy.clip_norm"),
        (["privacy.clip_norm=5e-10", "privacy.scale_bits=40"], "privacy.clip_norm"),
        (["privacy.scale_bits=41"], "scale_bits"),
        (["privacy.mechanism=laplace"], "gaussian, discrete_gaussian, skellam"),
        (["privacy.unit=user"], "example, client"),
        (["aggregation.backend=tee"], "plaintext, smpc"),
        (["aggregation.parties=1"], "one party alone would see every update"),
        (["simulation.dropout=1"], "simulation.dropout"),
        (["engine.cohort_size=0"], "engine.cohort_size is 0; allowed: 1 or more, or null"),
        (["engine.cohort_size=2.5"], "engine.cohort_size"),
        (["engine.cohort_gib=0"], "engine.cohort_gib is 0.0; allowed: a number above 0"),
        (["engine.cohort_gib=.inf"], "engine.cohort_gib"),
        (["simulation.dropout=0.1"], "n_min asks for all 100 clients"),
        (["lora.ranks={conv1: 4}"], "lora.ranks or lora.alphas: conv1 is not in lora.targets"),
        (["lora.targets=[fc]", "lora.alphas={fc: -1}"], "lora.alphas.fc is -1"),
        (["lora.alphas={fc: x}"], "lora.alphas"),
        (["server.optimizer=lion"], "sgd, momentum, adam"),
        (["lora.targets=fc"], "lora.targets"),
        (["model.channels=[16]"], "model.channels"),
        (["engine.batch_size=1.5"], "engine.batch_size"),
        (["engine.features=tape"], "engine.features is 'tape'; allowed: disk, memory"),
        (["engine.features_gib=0"], "engine.features_gib is 0.0; allowed: a number above 0"),
        (["federation.clients=[1"], "has no value of YAML"),
        (["noise.by=server"], "noise.by is 'server'; allowed: clients, aggregators, both"),
        (["noise.dropout=ignore"], "noise.dropout is 'ignore'; allowed: oversize, xnoise"),
        (["noise.bye=both"], "unknown key noise.bye; did you mean by"),
        (["aggregation.ring_bits=1"], "aggregation.ring_bits is 1; allowed: 2 to 64, or null"),
        (["aggregation.ring_bits=65"], "aggregation.ring_bits is 65; allowed: 2 to 64, or null"),
        (["aggregation.ring_bits=wide"], "aggregation.ring_bits"),
        (["aggregation.min_difference=0"], "aggregation.min_difference is 0; allowed: 1 to federation.clients"),
        (["aggregation.min_difference=101"], "aggregation.min_difference is 101; allowed: 1 to federation.clients"),
        (["aggregation.deployment=' '"], "aggregation.deployment is empty; allowed: a folder, or null"),
        (["aggregation.deployment=parties", PLAINTEXT], "'parties' while aggregation.backend is plaintext"),
        (["aggregation.norm_check=maybe"], "aggregation.norm_check"),
        (["model.pretrain.label_smoothing=.inf"], "label_smoothing is inf; allowed: 0 to below 1"),
        (["model.pretrain.label_smoothing=1"], "label_smoothing is 1.0; allowed: 0 to below 1"),
        (["model.pretrain.learning_rate=-1"], "model.pretrain.learning_rate is -1.0; allowed: above 0"),
        (["model.pretrain.shift=-1"], "model.pretrain.shift is -1; allowed: 0 or more"),
        (["engine.features_gib=.nan"], "engine.features_gib is nan; allowed"),
    ],
)
def test_bad_values_are_one_sentence(overrides, says):
    with pytest.raises(ConfigError, match=says) as caught:
        parse(*overrides)
    assert "\n" not in str(caught.value)


XNOISE = ("noise.dropout=xnoise", "federation.n_min=90")
NORM_CHECK = ("aggregation.norm_check=true", "privacy.unit=client", "noise.by=aggregators")


@pytest.mark.parametrize(
    ("possible", "change", "key", "because", "instead"),
    [
        (("noise.by=both",), "privacy.trust=local", "noise.by", "trust is local", "clients, or privacy.trust distr"),
        (("noise.by=both",), "privacy.trust=central", "noise.by", "trust is central", "clients, or privacy.trust dis"),
        (("noise.by=aggregators",), PLAINTEXT, "noise.by", "backend is plaintext", "clients, or aggregation.backend"),
        (("noise.by=aggregators",), SEEDED, "noise.by", "insecure_seed is 1", "clients, or privacy.insecure_seed null"),
        (("noise.by=both",), SEEDED, "noise.by", "insecure_seed is 1", "clients, or privacy.insecure_seed null"),
        (XNOISE, "privacy.trust=local", "noise.dropout", "trust is local", "oversize, or privacy.trust distributed"),
        (XNOISE, "noise.by=aggregators", "noise.dropout", "by is 'aggregators'", "oversize, or noise.by clients or bo"),
        (
            XNOISE,
            "privacy.mechanism=gaussian",
            "noise.dropout",
            "mechanism is gaussian",
            "discrete_gaussian or skellam",
        ),
        (XNOISE, AGGREGATE, "noise.dropout", "simulation.noise is 'aggregate'", "simulation.noise per_client"),
        (XNOISE, "federation.n_min=100", "noise.dropout", "n_min asks for all 100", "n_min below federation.clients"),
        (XNOISE, "federation.n_min=null", "noise.dropout", "n_min asks for all 100", "n_min below federation.clients"),
        (NORM_CHECK, "privacy.unit=example", "aggregation.norm_check", "unit is example", "privacy.unit client"),
        (NORM_CHECK, "noise.by=clients", "aggregation.norm_check", "by is 'clients'", "noise.by aggregators"),
        (NORM_CHECK, "noise.by=both", "aggregation.norm_check", "by is 'both'", "noise.by aggregators"),
        (NORM_CHECK, "aggregation.ring_bits=32", "aggregation.norm_check", "ring_bits is 32", "ring_bits 64 or null"),
        (NORM_CHECK, AGGREGATE, "aggregation.norm_check", "noise is 'aggregate'", "simulation.noise per_client"),
    ],
)
def test_what_cannot_be_together_says_what_where_and_what_is_allowed(possible, change, key, because, instead):
    parse(*possible)
    with pytest.raises(ConfigError) as caught:
        parse(*possible, change)
    sentence = str(caught.value)
    assert sentence.startswith(f"override '{key}=")
    assert f"': {key} is " in sentence
    said, allowed = sentence.split("; allowed: ")
    assert because in said
    assert instead in allowed
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "overrides",
    [
        ("privacy.mechanism=skellam",),
        ("noise.by=both", *XNOISE),
        ("noise.by=aggregators", AGGREGATE),
        (*XNOISE, "privacy.mechanism=skellam", SEEDED, PLAINTEXT),
        (*NORM_CHECK, "aggregation.ring_bits=64"),
        ("aggregation.ring_bits=2", "aggregation.min_difference=100", "aggregation.deployment=parties"),
    ],
)
def test_what_can_be_together_is_taken(overrides):
    assert isinstance(parse(*overrides), RunConfig)
