import json
import math

import pytest

from fl_core.privacy.events import MechanismEvent, PrivacyError
from fl_core.privacy.views import against_aggregators, against_recipients, local, views
from tests.fl_core.privacy import exact

DELTA = 1e-5


def run(z=2.0, steps=20, q=1.0, clients=10, **rest):
    return MechanismEvent(rest.pop("mechanism", "gaussian"), z, steps, q, clients=clients, **rest)


@pytest.mark.parametrize(
    ("survivors", "colluders", "release", "aggregators"),
    [(None, 0, 11.480, 11.480), (9, 0, 12.262, 12.262), (None, 1, 11.480, 12.262), (8, 3, 13.207, 17.857)],
)
def test_views_of_the_reference_run(survivors, colluders, release, aggregators):
    found = views([run(survivors=survivors, colluders=colluders)], DELTA)
    assert found.accountant == "pld"
    assert found.release.epsilon == pytest.approx(release, abs=5e-4)
    assert found.aggregators.epsilon == pytest.approx(aggregators, abs=5e-4)
    assert found.local.epsilon == pytest.approx(54.377, abs=5e-4)
    alone = views([run(steps=1, survivors=survivors, colluders=colluders)], DELTA)
    assert alone.local.epsilon == pytest.approx(7.511, abs=5e-4)


@pytest.mark.parametrize(("clients", "survivors", "colluders"), [(10, 10, 0), (10, 7, 2), (50, 20, 19)])
def test_each_view_keeps_its_own_share_of_the_noise(clients, survivors, colluders):
    event = run(z=3.0, steps=4, clients=clients, survivors=survivors, colluders=colluders)
    found = views([event], DELTA)
    for view, shares in ((found.release, survivors), (found.aggregators, survivors - colluders), (found.local, 1)):
        sigma = 3.0 * math.sqrt(shares / clients) / math.sqrt(4)
        assert view.epsilon == pytest.approx(exact.gaussian_epsilon(sigma, DELTA), rel=1e-9)


def test_with_all_but_one_colluding_the_aggregators_see_one_message():
    found = views([run(z=4.0, steps=10, clients=2, colluders=1)], DELTA)
    assert found.aggregators.epsilon == found.local.epsilon == pytest.approx(4.98331, abs=1e-5)


@pytest.mark.parametrize(("survivors", "colluders"), [(None, 10), (3, 3), (3, 7)])
def test_without_an_honest_share_there_is_no_epsilon_and_a_reason(survivors, colluders):
    found = views([run(), run(survivors=survivors, colluders=colluders)], DELTA)
    assert found.aggregators.epsilon is None
    assert "every share" in found.aggregators.note
    assert found.release.epsilon is not None
    assert found.local.epsilon is not None
    json.dumps(found.to_json(), allow_nan=False)


def test_an_infinite_epsilon_becomes_null():
    found = views([run(z=1e-8)], DELTA, "rdp")
    assert found.release.epsilon is None
    assert "No finite epsilon" in found.release.note
    assert '"epsilon": null' in json.dumps(found.to_json(), allow_nan=False)


def test_without_clients_only_the_release_can_be_derived():
    found = views([run(), run(clients=None)], DELTA)
    assert found.release.epsilon is not None
    for view in (found.aggregators, found.local):
        assert view.epsilon is None
        assert '"clients"' in view.note


def test_under_plaintext_only_the_local_epsilon_holds_against_the_server():
    found = views([run(colluders=2)], DELTA, backend="plaintext")
    assert found.aggregators.epsilon == found.local.epsilon
    assert "only the local epsilon holds" in found.aggregators.note
    assert "server" in found.aggregators.adversary
    assert found.release.epsilon == views([run(colluders=2)], DELTA).release.epsilon


def test_central_trust_protects_the_release_alone_whoever_drops_out():
    found = views([run(survivors=5, colluders=5)], DELTA, trust="central")
    assert found.release.epsilon == pytest.approx(11.480, abs=5e-4)
    assert found.aggregators.epsilon is None
    assert found.local.epsilon is None
    assert "trusted" in found.aggregators.note


def test_trust_none_has_no_epsilon_at_all():
    found = views([run()], DELTA, trust="none")
    assert (found.release.epsilon, found.aggregators.epsilon, found.local.epsilon) == (None, None, None)
    assert not found.proven


def test_local_trust_is_counted_like_shares_of_the_whole_noise():
    assert views([run()], DELTA, trust="local").local == views([run()], DELTA).local


def test_units_relations_and_adversaries_are_in_every_view():
    found = views([run(colluders=2)], DELTA, "rdp", "replace_one", "client")
    for view in (found.release, found.aggregators, found.local):
        assert (view.unit, view.neighbouring) == ("client", "replace_one")
        assert len(view.adversary) > 20
    assert "2 colluding clients" in found.aggregators.adversary


def test_a_picked_cohort_amplifies_only_against_those_who_do_not_know_it():
    fixed = MechanismEvent("gaussian", 2.0, 20, sampling="fixed", cohort=10, population=1000, clients=10)
    found, unsampled = views([fixed], DELTA), views([run()], DELTA, "rdp")
    assert found.accountant == "rdp"
    assert found.release.epsilon < unsampled.release.epsilon / 2
    assert found.aggregators.epsilon == unsampled.aggregators.epsilon
    assert found.local.epsilon == unsampled.local.epsilon
    assert "no amplification" in found.local.note


def test_secret_sampling_amplifies_every_view():
    sampled, unsampled = views([run(q=0.1)], DELTA, "rdp"), views([run()], DELTA, "rdp")
    for name in ("release", "aggregators", "local"):
        assert getattr(sampled, name).epsilon < getattr(unsampled, name).epsilon


def test_only_honest_shares_count_in_the_discrete_sum_and_one_share_needs_no_tau():
    coarse = run(mechanism="discrete_gaussian", clients=100, colluders=60, dimension=10, scale=5.0)
    found = views([coarse], DELTA)
    assert found.aggregators.epsilon > found.release.epsilon
    kept = against_aggregators(coarse)
    assert (kept.clients, kept.survivors, kept.colluders) == (40, None, 0)
    assert kept.noise_multiplier == pytest.approx(2.0 * math.sqrt(0.4))
    assert local(coarse).clients == 1
    assert against_recipients(coarse).noise_multiplier == 2.0
    assert found.local.epsilon == views([run(clients=100)], DELTA, "rdp").local.epsilon


@pytest.mark.parametrize("keys", [{"unit": "record"}, {"trust": "all"}, {"backend": "tee"}, {"neighbouring": "x"}])
def test_unknown_names_are_refused(keys):
    with pytest.raises(PrivacyError, match=next(iter(keys))):
        views([run()], DELTA, **keys)


@pytest.mark.parametrize("keep", [against_aggregators, local])
def test_a_share_of_an_unknown_number_is_refused(keep):
    with pytest.raises(PrivacyError, match='"clients"'):
        keep(run(clients=None))


@pytest.mark.parametrize(("survivors", "colluders"), [(10, 0), (7, 2), (3, 3), (3, 9)])
@pytest.mark.parametrize("z", [0.0, 2.0])
def test_each_view_keeps_the_aggregators_noise_that_its_adversary_does_not_know(z, survivors, colluders):
    event = run(z=z, steps=4, survivors=survivors, colluders=colluders, aggregators=3, aggregator_multiplier=1.5)
    found = views([event], DELTA)

    def expected(shares, aggregators):
        sigma = math.sqrt(z**2 * shares / 10 + aggregators * 1.5**2)
        return pytest.approx(exact.gaussian_epsilon(sigma / 2, DELTA), rel=1e-9) if sigma else None

    assert found.release.epsilon == expected(survivors, 3)
    assert found.aggregators.epsilon == expected(max(survivors - colluders, 0), 1)
    assert found.local.epsilon == expected(1, 0)
    assert "the noise of all aggregators but one" in found.aggregators.adversary
    assert ("Clients add no noise" in found.local.note) == (z == 0)


def test_aggregators_noise_survives_any_drop_out_and_any_number_of_colluding_clients():
    aggregated = run(z=0.0, aggregators=3, aggregator_multiplier=2.0, survivors=1, colluders=9)
    assert views([aggregated], DELTA).aggregators.epsilon == pytest.approx(11.480, abs=5e-4)


def test_without_clients_noise_of_aggregators_can_still_be_derived():
    found = views([run(z=0.0, clients=None, aggregators=2, aggregator_multiplier=2.0)], DELTA)
    assert found.aggregators.epsilon == pytest.approx(11.480, abs=5e-4)
    assert found.local.epsilon is None


def test_under_plaintext_noise_that_clients_do_not_add_protects_nothing_from_the_server():
    found = views([run(z=0.0, aggregators=1, aggregator_multiplier=2.0)], DELTA, backend="plaintext")
    assert found.release.epsilon is not None
    assert found.aggregators.epsilon is None
    assert "Clients add no noise" in found.aggregators.note


def test_aggregators_and_a_central_server_do_not_both_add_noise():
    with pytest.raises(PrivacyError, match='"aggregators".*central'):
        views([run(aggregators=1, aggregator_multiplier=2.0)], DELTA, trust="central")


def test_views_of_aggregators_noise_compose_with_those_of_clients():
    mixed = [run(steps=3), run(z=0.0, steps=2, aggregators=2, aggregator_multiplier=2.0)]
    found = views(mixed, DELTA)
    precision = 3 / 4 + 2 / 4
    assert found.aggregators.epsilon == pytest.approx(exact.gaussian_epsilon(precision**-0.5, DELTA), rel=1e-9)
    assert found.local.epsilon is None, "some messages carried no noise at all"
