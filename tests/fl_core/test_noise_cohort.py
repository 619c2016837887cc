"""An extrapolation has the noise of more clients, and says in ledger and output that these clients are not that
private.
"""

from __future__ import annotations

import pytest

from fl_core.privacy.ledger import read_ledger, summarise_ledger
from fl_core.privacy_plan import plan_privacy
from secagg.errors import SottoError
from tests.fl_core.tiny import run_tiny, tiny_config

TARGET = ["privacy.epsilon=2", "privacy.noise_multiplier=null", "federation.sample_rate=0.3"]
MORE = "simulation.noise_cohort=80"


@pytest.mark.parametrize("trust", ["central", "distributed"])
def test_the_average_has_the_noise_of_the_larger_cohort(trust):
    own, more = (plan_privacy(tiny_config(*TARGET, f"privacy.trust={trust}", *some), 10, 80) for some in ([], [MORE]))
    assert more.noise_multiplier == pytest.approx(own.noise_multiplier / 10)
    # Noise of the average over 8 clients here, over 80 there.
    assert more.noise.sum_std(8) / 8 == pytest.approx(own.noise.sum_std(8) / 80, rel=1e-4)


def test_the_ledger_reports_what_these_clients_have_and_not_what_was_extrapolated(tmp_path):
    run_tiny(tmp_path / "own", tiny_config(*TARGET))
    ended, _ = run_tiny(tmp_path / "more", tiny_config(*TARGET, MORE))
    assert ended == "all rounds done"
    found = [summarise_ledger(read_ledger(tmp_path / name / "ledger.jsonl")) for name in ("own", "more")]
    assert found[0]["views"]["release"]["epsilon"] <= 2
    assert found[1]["views"]["release"]["epsilon"] > 20
    assert read_ledger(tmp_path / "more" / "ledger.jsonl").header.target_epsilon is None
    said = " ".join(found[1]["warnings"])
    assert (
        "extrapolation: the noise that an average over 80 clients would have at epsilon 2, on 8 clients' data" in said
    )


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["simulation.noise_cohort=8"], "simulation.noise_cohort is 8; allowed: more than federation.clients \\(8\\)"),
        ([MORE, "privacy.trust=local"], "80 while privacy.trust is local; allowed: null, or privacy.trust central or"),
    ],
)
def test_what_is_no_extrapolation_is_refused(overrides, sentence):
    with pytest.raises(SottoError, match=sentence):
        tiny_config(*overrides)
