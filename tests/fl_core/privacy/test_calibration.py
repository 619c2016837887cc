import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_core.privacy.accountant import epsilon
from fl_core.privacy.calibration import calibrate, calibrate_event
from fl_core.privacy.events import MechanismEvent, PrivacyError
from tests.fl_core.privacy import exact

# q, T, epsilon, delta -> z by PLD, z by RDP
TABLE = [
    (1.0, 50, 8.0, 1e-5, 4.24426, 4.50911),
    (0.1, 100, 8.0, 1e-5, 0.93601, 0.99373),
    (0.1, 100, 2.0, 1e-5, 2.24777, 2.42240),
    (0.01, 1000, 1.0, 1e-6, 1.56438, 1.65951),
    (0.5, 20, 4.0, 1e-5, 2.63209, 2.82945),
]


def check(z, target, event, delta, accountant):
    spent = epsilon([MechanismEvent(**{**event, "noise_multiplier": z})], delta, accountant).epsilon
    less = epsilon([MechanismEvent(**{**event, "noise_multiplier": z / 1.002})], delta, accountant).epsilon
    assert spent <= target < less


@pytest.mark.parametrize(("q", "steps", "target", "delta", "pld", "rdp"), TABLE)
def test_the_table_is_met_and_never_exceeded(q, steps, target, delta, pld, rdp):
    event = {"mechanism": "gaussian", "steps": steps, "sample_rate": q}
    for accountant, expected in (("pld", pld), ("rdp", rdp)):
        z = calibrate(target, delta, q, steps, accountant=accountant)
        # the table's PLD values were found on a grid ten times as wide, which costs up to 0.1 %
        assert z == pytest.approx(expected, rel=1.3e-3 if accountant == "pld" else 1.5e-4)
        check(z, target, event, delta, accountant)


@settings(max_examples=15, deadline=None)
@given(
    mechanism=st.sampled_from(["gaussian", "discrete_gaussian", "skellam"]),
    target=st.floats(0.05, 50.0),
    q=st.floats(0.01, 1.0),
    steps=st.integers(1, 10_000),
    delta=st.floats(1e-9, 1e-3),
)
def test_rdp_calibration_is_tight_and_safe_for_every_mechanism(mechanism, target, q, steps, delta):
    rest = {"clients": 5, "dimension": 100, "scale": 2.0**20}
    z = calibrate(target, delta, q, steps, mechanism, "rdp", **rest)
    check(z, target, {"mechanism": mechanism, "steps": steps, "sample_rate": q, **rest}, delta, "rdp")


def test_the_closed_form_is_met_from_above():
    z = calibrate(1.0, 1e-6, 1.0, 9)
    assert exact.gaussian_epsilon(z / 3, 1e-6) <= 1.0
    assert exact.gaussian_epsilon(z / 3 / 1.0002, 1e-6) > 1.0


def test_the_default_accountant_is_the_one_that_epsilon_uses():
    assert calibrate(2.0, 1e-5, 0.1, 100) == calibrate(2.0, 1e-5, 0.1, 100, accountant="pld")
    assert calibrate(2.0, 1e-5, 0.1, 100, "discrete_gaussian") == calibrate(
        2.0, 1e-5, 0.1, 100, "discrete_gaussian", "rdp"
    )


def test_replace_one_needs_twice_the_noise():
    z = calibrate(3.0, 1e-5, 1.0, 10)
    assert calibrate(3.0, 1e-5, 1.0, 10, neighbouring="replace_one") == pytest.approx(2 * z, rel=2e-4)


def test_a_fixed_cohort_can_be_calibrated():
    event = MechanismEvent("gaussian", 1.0, 50, sampling="fixed", cohort=10, population=100)
    z = calibrate_event(event, 9.42772, 1e-5)
    assert z == pytest.approx(2.0, rel=2e-4)


@pytest.mark.parametrize("target", [0, -1.0, float("nan"), float("inf"), True, "8"])
def test_a_target_that_is_no_epsilon_is_refused(target):
    with pytest.raises(PrivacyError, match='"epsilon"'):
        calibrate(target, 1e-5, 0.1, 100)


def test_targets_that_cannot_or_need_not_be_met_are_refused():
    with pytest.raises(PrivacyError, match="cannot be met"):
        calibrate(1e-9, 1e-12, 1.0, 10**10)
    with pytest.raises(PrivacyError, match="needs no noise to speak of"):
        calibrate(1e6, 1e-5, 0.1, 10, accountant="rdp")
    with pytest.raises(PrivacyError, match="needs no noise to speak of"):
        calibrate(1.0, 0.5, 1e-6, 10)


def test_what_the_accountant_refuses_calibration_refuses_too():
    with pytest.raises(PrivacyError, match="use the rdp accountant"):
        calibrate(8.0, 1e-5, 0.1, 100, "discrete_gaussian", "pld")
    with pytest.raises(PrivacyError, match='"scale" is missing'):
        calibrate(8.0, 1e-5, 0.1, 100, "skellam")
    with pytest.raises(PrivacyError, match='"delta"'):
        calibrate(8.0, 2.0, 0.1, 100)
    with pytest.raises(PrivacyError, match='"sample_rate"'):
        calibrate(8.0, 1e-5, 1.5, 100)
    with pytest.raises(PrivacyError, match="must be one of rdp, pld"):
        calibrate(8.0, 1e-5, 0.5, 100, accountant="prv")
