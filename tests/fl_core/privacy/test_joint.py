"""Runs that are added up cost what one run with all of their openings would, and not knowing never costs less."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fl_core.privacy.events import PrivacyError
from fl_core.privacy.joint import about_the_same, add_up, rdp_of_ledger, unlike
from fl_core.privacy.ledger import Head, Ledger, LedgerContents, read_ledger, summary
from fl_core.privacy.rdp import epsilon_from_rdp
from tests.fl_core.privacy import exact
from tests.fl_core.privacy.ledgers import HEADER, opening

KNOWN = replace(HEADER, data="mnist", contribution="a user")


def ledger_of(path, run, openings, **changes):
    """A real ledger file, read back."""
    file = path / f"{run}.jsonl"
    with Ledger.create(file, replace(KNOWN, run=run, **changes)) as ledger:
        for entry in openings:
            ledger.append(entry)
    return read_ledger(file)


def about(run, data="", contribution="", **changes):
    """A ledger of which only the header matters."""
    header = replace(HEADER, run=run, data=data, contribution=contribution, **changes)
    return LedgerContents(None, header, (), Head(1, ""))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    survivors=st.lists(st.integers(8, 10), min_size=1, max_size=9),
    cuts=st.sets(st.integers(0, 9), max_size=3),
    rate=st.sampled_from([0.1, 1.0]),
    mechanism=st.sampled_from(["discrete_gaussian", "gaussian", "skellam"]),
    colluders=st.integers(0, 2),
)
def test_a_run_in_parts_costs_what_it_costs_whole(tmp_path_factory, survivors, cuts, rate, mechanism, colluders):
    path = tmp_path_factory.mktemp("runs")
    terms = {"sample_rate": rate, "mechanism": mechanism, "colluders": colluders}
    openings = [opening(number, present) for number, present in enumerate(survivors)]
    ends = [0, *sorted(cut for cut in cuts if cut < len(openings)), len(openings)]
    parts = [ledger_of(path, f"part{i}", openings[a:b], **terms) for i, (a, b) in enumerate(pairwise(ends))]
    whole = ledger_of(path, "whole", openings, **terms)
    (found,) = add_up(parts, "rdp")
    expected = summary(whole, "rdp")
    assert found.openings == expected.openings
    assert found.views.accountant == expected.views.accountant
    for view in ("release", "aggregators", "local"):
        ours, theirs = getattr(found.views, view), getattr(expected.views, view)
        assert ours.epsilon == pytest.approx(theirs.epsilon, rel=1e-6)
        assert (ours.unit, ours.neighbouring, ours.adversary) == (theirs.unit, theirs.neighbouring, theirs.adversary)
        spent = sum(rdp_of_ledger(part)[view] for part in parts)
        assert spent == pytest.approx(rdp_of_ledger(whole)[view], rel=1e-12)
        assert epsilon_from_rdp(spent, KNOWN.delta) == pytest.approx(theirs.epsilon, rel=1e-9)


def test_two_gaussian_runs_are_one_gaussian_of_their_precisions(tmp_path):
    one = ledger_of(tmp_path, "one", [opening(0)], mechanism="gaussian")
    two = ledger_of(tmp_path, "two", [opening(0, sigma_steps=2.0**18)], mechanism="gaussian")
    (found,) = add_up([one, two])
    z = (1 / 2.5 + 1 / 0.625) ** -0.5  # ten shares of 1/2, and of 1/4
    assert found.views.accountant == "pld"
    assert found.views.release.epsilon == pytest.approx(exact.gaussian_epsilon(z, 1e-5), rel=1e-6)
    assert any("as chosen before the first" in note for note in found.views.notes)
    (careful,) = add_up([one, two], "rdp")
    assert careful.views.release.epsilon > found.views.release.epsilon
    assert not any("as chosen before the first" in note for note in careful.views.notes)


def test_what_one_run_does_not_protect_from_no_sum_does(tmp_path):
    good = ledger_of(tmp_path, "good", [opening(0)])
    server = replace(opening(0), sigma_steps=2.0**20, noise_multiplier=1.0)
    central = ledger_of(tmp_path, "central", [server], trust="central")
    (found,) = add_up([good, central])
    assert found.views.release.epsilon > summary(good).views.release.epsilon
    for view in (found.views.aggregators, found.views.local):
        assert view.epsilon is None
        assert view.note.startswith("Run central has none: The server adds the noise itself")
    assert any("trust central" in warning for warning in found.warnings)
    bare = ledger_of(tmp_path, "bare", [replace(opening(0), sigma_steps=0.0, noise_multiplier=0.0)], trust="none")
    (found,) = add_up([good, bare])
    assert found.views.release.epsilon is None
    assert not found.private
    for rdp in rdp_of_ledger(bare).values():
        assert epsilon_from_rdp(rdp, 1e-5) == float("inf")


def test_a_plaintext_run_counts_its_local_epsilon_against_its_server(tmp_path):
    one = ledger_of(tmp_path, "one", [opening(0)])
    plain = ledger_of(tmp_path, "plain", [opening(0)], backend="plaintext")
    (found,) = add_up([one, plain])
    assert found.views.aggregators.epsilon > summary(plain).views.local.epsilon
    assert found.views.local.epsilon == pytest.approx(add_up([plain, one])[0].views.local.epsilon)
    assert "the server, which under plaintext" in found.views.aggregators.adversary
    assert "at least one aggregator is honest" in found.views.aggregators.adversary


def test_a_seeded_run_makes_the_sum_non_private_and_an_empty_one_adds_nothing(tmp_path):
    good, empty = ledger_of(tmp_path, "good", [opening(0)]), ledger_of(tmp_path, "empty", [])
    (found,) = add_up([empty, good])
    assert found.views.release.epsilon == summary(good).views.release.epsilon
    assert found.private
    seeded = ledger_of(tmp_path, "seeded", [opening(0)], noise_source="seeded")
    assert not add_up([good, seeded])[0].private
    (nothing,) = add_up([empty, ledger_of(tmp_path, "empty2", [])])
    assert [getattr(nothing.views, view).epsilon for view in ("release", "aggregators", "local")] == [0, 0, 0]


def test_the_smallest_delta_is_that_of_the_sum(tmp_path):
    one = ledger_of(tmp_path, "one", [opening(0)], delta=1e-3)
    two = ledger_of(tmp_path, "two", [opening(0)], delta=1e-6)
    (found,) = add_up([one, two])
    both = rdp_of_ledger(one)["release"] + rdp_of_ledger(two)["release"]
    assert found.views.delta == 1e-6
    assert found.views.release.epsilon == pytest.approx(epsilon_from_rdp(both, 1e-6))
    assert any("deltas differ" in note for note in found.views.notes)


def test_one_run_is_not_added_to_itself(tmp_path):
    one = ledger_of(tmp_path, "one", [opening(0)])
    (tmp_path / "copy.jsonl").write_bytes((tmp_path / "one.jsonl").read_bytes())
    with pytest.raises(PrivacyError, match=r"one\.jsonl and .*copy\.jsonl are ledgers of one run"):
        add_up([one, read_ledger(tmp_path / "copy.jsonl")])


M, D = ("mnist", "an image"), ("digits", "an image")


@pytest.mark.parametrize(
    ("ledgers", "expected"),
    [
        ({"a": M, "b": M}, ["ab"]),
        ({"a": M, "b": D}, ["a", "b"]),
        ({"a": M, "b": D, "c": ("", "")}, ["ac", "bc"]),
        ({"a": ("", ""), "b": ("", "")}, ["ab"]),
        ({"a": M, "b": ("", "")}, ["ab"]),
        ({"a": M, "b": ("mnist", "a user")}, ["a", "b"]),
        ({"a": ("mnist", ""), "b": ("", "a user"), "c": ("", "an image")}, ["ab", "ac"]),
        ({"a": ("mnist", ""), "b": ("digits", ""), "c": ("", "a user")}, ["ac", "bc"]),
        ({"a": M}, ["a"]),
    ],
)
def test_runs_are_one_sum_unless_they_say_that_they_are_not(ledgers, expected):
    found = about_the_same([about(run, *said) for run, said in ledgers.items()])
    assert ["".join(each.header.run for each in some) for some in found] == expected


def test_runs_of_two_units_are_two_sums_and_those_that_say_nothing_are_named():
    some = [about("a", *M), about("b", *M, unit="example"), about("c")]
    assert [[each.header.run for each in together] for together in about_the_same(some)] == [["a", "c"], ["b"]]
    assert unlike(some[0].header, some[1].header) == "unit"
    assert unlike(some[0].header, some[2].header) is None
    assert unlike(some[0].header, about("d", "mnist", "a user").header) == "contribution"
    first, second = add_up(some)
    assert (first.unknown, first.data, first.contribution) == (("c",), "mnist", "an image")
    assert second.unknown == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "x", "y"]), st.sampled_from(["", "p", "q"]), st.sampled_from(["client", "example"])
        ),
        min_size=1,
        max_size=6,
    )
)
def test_the_sets_are_exactly_the_largest_without_a_contradiction(said):
    """Against the definition, by trying every subset."""
    ledgers = [about(f"r{i}", data, kind, unit=unit) for i, (data, kind, unit) in enumerate(said)]
    consistent = []
    for bits in range(1, 2 ** len(ledgers)):
        some = [each for i, each in enumerate(ledgers) if bits >> i & 1]
        if all(unlike(one.header, other.header) is None for one in some for other in some):
            consistent.append(frozenset(each.header.run for each in some))
    largest = {some for some in consistent if not any(some < other for other in consistent)}
    assert {frozenset(each.header.run for each in some) for some in about_the_same(ledgers)} == largest
