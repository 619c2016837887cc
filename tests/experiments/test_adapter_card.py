"""An adapter's README says what base it needs, how both are loaded, and what protects the training data."""

from __future__ import annotations

import copy

import pytest
import yaml

from experiments.adapter_card import adapter_card
from tests.experiments.html_report.sample import sample_run


@pytest.fixture(scope="module")
def summary(tmp_path_factory):
    return sample_run(tmp_path_factory.mktemp("runs") / "own", notes=("a stand-in was used",))[2]


def test_every_epsilon_has_its_adversary_unit_and_warnings(summary):
    card = adapter_card(summary, "mini")
    for name, view in summary["privacy"]["views"].items():
        assert f"| {name} | {view['epsilon']:.4f} | {view['adversary']} |" in card
    assert "each record (unit example, zero-out, delta 1e-05), over 6 opened sums" in card
    assert "One record is" not in card
    assert "One record is a piece." in adapter_card(summary | {"words": {"record": "a piece"}}, "mini")
    assert "* a stand-in was used\n" in card
    assert summary["privacy"]["head"] in card


def test_a_run_without_noise_has_no_epsilon_and_says_that_it_is_not_private(tmp_path):
    card = adapter_card(sample_run(tmp_path / "none", trust="none")[2], "mini")
    assert "This adapter is not private" in card
    assert "* No noise was added (trust none), so this run is non-private." in card


@pytest.mark.parametrize("options", [{"noise_source": "seeded"}, {"trust": "none"}])
def test_an_adapter_that_is_not_private_is_not_called_protected_and_has_no_epsilon(tmp_path, options):
    card = adapter_card(sample_run(tmp_path / "run", **options)[2], "mini")
    assert "protect" not in card
    assert "proven" not in card
    assert "| release |" not in card


@pytest.mark.parametrize(
    ("base", "head", "says"),
    [
        ("mini", None, 'AutoModelForCausalLM.from_pretrained("experiments/bases/mini")'),
        ("distilgpt2", "distilgpt2", 'AutoModelForCausalLM.from_pretrained("distilgpt2")'),
        ("./models/own", None, 'AutoModelForCausalLM.from_pretrained("./models/own")'),
        (None, None, "Sotto's own image network"),
    ],
)
def test_the_base_is_named_and_to_the_hub_only_if_it_is_from_there(summary, base, head, says):
    card = adapter_card(copy.deepcopy(summary), base)
    assert says in card
    _, front, _ = card.split("---\n", 2)
    assert yaml.safe_load(front).get("base_model") == head
