"""`sotto run` with engine.name flower: the same run on Flower's simulation engine, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from safetensors.torch import load_file

from experiments.flower_runs import refuse_missing_flower
from fl_core.config import ConfigError
from fl_core.config_file import load_config

SMALL = [
    "experiments/configs/demo.yaml",
    "federation.clients=4",
    "federation.rounds=2",
    "model.pretrain.epochs=1",
    "privacy.insecure_seed=1",
    "engine.threads=1",
    "--json",
]
NO_FLOWER = importlib.util.find_spec("flwr") is None


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("engine.name=flwr", "engine.name is 'flwr'; allowed: local, flower"),
        ("flower.relay=nobody", "flower.relay is 'nobody'; allowed: coordinator, aggregators"),
        ("flower.nodes=5", "flower.nodes is 5; allowed: 1 to federation.clients (4)"),
        ("flower.timeout_s=0", "flower.timeout_s is 0.0; allowed: seconds above 0"),
        ("flower.connect_s=.inf", "flower.connect_s is inf; allowed: seconds above 0"),
        ("flower.answers=0", "flower.answers is 0; allowed: 1 or more, or null"),
        ("flower.settle_s=-1", "flower.settle_s is -1.0; allowed: seconds above 0"),
        ("aggregation.backend=plaintext", "engine.name is 'flower' while aggregation.backend is plaintext"),
        ("privacy.trust=central", "engine.name is 'flower' while privacy.trust is central"),
        ("simulation.noise=aggregate", "engine.name is 'flower' while simulation.noise is 'aggregate'"),
    ],
)
def test_what_flower_cannot_do_is_refused_in_a_sentence(mistake, tmp_path, override, sentence):
    assert sentence in mistake("run", *SMALL, "engine.name=flower", override, "--out", tmp_path / "run")


@pytest.mark.skipif(not NO_FLOWER, reason="Flower is installed")
def test_a_run_under_flower_without_flower_says_what_to_install(mistake, tmp_path):
    assert "extra `flower`" in mistake("run", *SMALL, "engine.name=flower", "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("missing", "simulated", "refused"), [("flwr", False, "Flower is"), ("ray", True, "Ray, on")])
def test_what_is_missing_is_named_and_a_deployment_needs_no_ray(monkeypatch, missing, simulated, refused):
    config = load_config(Path(SMALL[0]), ["engine.name=flower"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(ConfigError, match=f"{refused}.* not installed; install Sotto's extra `flower`"):
        refuse_missing_flower(config, simulated)
    if missing == "ray":
        refuse_missing_flower(config, simulated=False)


@pytest.mark.slow
@pytest.mark.skipif(NO_FLOWER or importlib.util.find_spec("ray") is None, reason="Flower or Ray is not installed")
@pytest.mark.parametrize("relay", ["coordinator", "aggregators"])
def test_flowers_simulation_gives_the_local_engines_adapter(sotto, tmp_path, relay):
    for name, overrides in (
        ("local", ["engine.cohort_size=1"]),
        ("flower", ["engine.name=flower", f"flower.relay={relay}"]),
    ):
        code, _, _ = sotto("run", *SMALL, *overrides, "--out", tmp_path / name)
        assert code == 0
    local, flower = (
        load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("local", "flower")
    )
    assert local.keys() == flower.keys()
    assert all(local[name].equal(flower[name]) for name in local)
