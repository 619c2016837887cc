"""`sotto run` with parties that run already, noise of the aggregators, norm checks, and noise that is taken away."""

from __future__ import annotations

import json

import pytest
import yaml

from experiments.runs import execute
from experiments.terminal_progress import RoundProgress
from fl_core.config_file import load_config
from secagg.coordinator.local_daemons import LocalDaemons
from secagg.deployment.terms import Policy
from secagg.errors import SottoError
from tests.experiments.test_command_line import CONFIG, environment


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    config = {**CONFIG, "aggregation": {"backend": "smpc", "parties": 2}}
    config["federation"] = {**CONFIG["federation"], "rounds": 2}
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="module")
def deployment():
    daemons = LocalDaemons(2, Policy(n_min=4, timeout_s=60), dealer=False)
    daemons.start()
    yield daemons.folder
    daemons.shutdown()


@pytest.fixture
def run(sotto, home, monkeypatch):
    """The summary of a run."""
    for name, value in environment(home).items():
        monkeypatch.setenv(name, value)

    def run(name, *settings):
        code, out, err = sotto("run", home / "run.yaml", "--out", home / name, "--json", *settings)
        assert code == 0, err
        return json.loads(out)

    return run


def test_a_run_uses_the_parties_of_a_deployment_and_a_second_one_finds_them_ready(run, deployment):
    for name in ("deployed", "again"):
        summary = run(name, f"aggregation.deployment={deployment}")
        assert summary["rounds_done"] == 2
        assert not summary["notes"]
    journal = (deployment / "party-1" / "journal").read_text().splitlines()
    assert len({json.loads(line)["run"] for line in journal}) == 2
    assert len(journal) == 4


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["federation.n_min=3"], "open no sum of fewer than 4"),
        (["aggregation.parties=3"], "has 2 parties; aggregation.parties is 3"),
        (["aggregation.min_difference=3"], "have their own"),
        (
            ["aggregation.norm_check=true", "noise.by=aggregators", "privacy.unit=client", "privacy.scale_bits=16"],
            "no dealer",
        ),
    ],
)
def test_what_the_parties_would_refuse_is_one_sentence_before_the_run(home, deployment, settings, says):
    config = load_config(home / "run.yaml", [f"aggregation.deployment={deployment}", *settings])
    with pytest.raises(SottoError, match=says):
        execute(config, home / "refused", False, False, RoundProgress(config.federation.rounds, silent=True))
    assert not (home / "refused").exists()


def test_a_deployment_that_is_not_there_is_one_sentence(mistake, home):
    arguments = ["run", home / "run.yaml", "--out", home / "none", "aggregation.deployment=nowhere"]
    assert "nowhere/parties.yaml" in mistake(*arguments)


def test_aggregators_noise_and_norm_checks_are_in_the_ledger_and_the_output(run, home):
    settings = [
        "noise.by=aggregators",
        "aggregation.norm_check=true",
        "privacy.unit=client",
        "privacy.mechanism=skellam",
    ]
    settings += ["privacy.mechanism=skellam", "privacy.scale_bits=16", "privacy.epsilon=50", "client.steps=1"]
    summary = run("checked", *settings)
    header = json.loads((home / "checked" / "ledger.jsonl").read_text().splitlines()[0])["body"]
    assert header["noise_by"] == "aggregators"
    assert header["aggregators"] == 2
    epsilon = {view: found["epsilon"] for view, found in summary["privacy"]["views"].items()}
    assert epsilon["local"] is None
    # Both parties' noise is in the release, one colluding party knows its own.
    assert epsilon["release"] < epsilon["aggregators"] <= 50


def test_xnoise_gives_the_epsilon_that_was_asked_for_whoever_drops_out(run, home):
    settings = ["noise.dropout=xnoise", "federation.n_min=3", "simulation.dropout=0.2", "federation.rounds=4"]
    summary = run("xnoise", *settings)
    rows = [json.loads(line) for line in (home / "xnoise" / "metrics.jsonl").read_text().splitlines()]
    opened = [row for row in rows if row["survivors"]]
    assert opened
    spent = opened[-1]["epsilon_aggregators"]
    realised = summary["privacy"]["views"]["aggregators"]["epsilon"]
    assert realised == pytest.approx(spent, rel=1e-2)
    if len(opened) == 4:
        assert realised == pytest.approx(8.0, rel=1e-2)
