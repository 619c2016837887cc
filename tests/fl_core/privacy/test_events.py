import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl_core.privacy.events import MechanismEvent, PrivacyError, check_delta, parse_history

GOOD = {"mechanism": "gaussian", "noise_multiplier": 1, "sample_rate": 0.5, "steps": 3}


def write(tmp_path, content):
    path = tmp_path / "history.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_history_becomes_events_in_order(tmp_path):
    fixed = {"mechanism": "skellam", "noise_multiplier": 2.5, "steps": 1, "sampling": "fixed", "cohort": 2}
    fixed |= {"population": 8, "clients": 4, "survivors": 3, "colluders": 9, "dimension": 7, "scale": 1024}
    events = parse_history(write(tmp_path, [GOOD, fixed]))
    assert events[0] == MechanismEvent("gaussian", 1.0, 3, 0.5)
    assert isinstance(events[0].noise_multiplier, float)
    assert events[1].population == 8
    assert events[1].scale == 1024.0
    assert [MechanismEvent.from_json(event.to_json()) for event in events] == list(events)


def test_clients_may_add_nothing_where_aggregators_do(tmp_path):
    only = GOOD | {"noise_multiplier": 0, "aggregators": 3, "aggregator_multiplier": 2, "clients": 5}
    (event,) = parse_history(write(tmp_path, [only]))
    assert (event.noise_multiplier, event.aggregators, event.aggregator_multiplier) == (0.0, 3, 2.0)
    assert MechanismEvent.from_json(event.to_json()) == event


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"mechanism": "laplace"}, "mechanism"),
        ({"mechanism": 3}, "mechanism"),
        ({"mechanism": ["gaussian"]}, "mechanism"),
        ({"noise_multiplier": 0}, "noise_multiplier"),
        ({"noise_multiplier": -1.0}, "noise_multiplier"),
        ({"noise_multiplier": "1"}, "noise_multiplier"),
        ({"noise_multiplier": True}, "noise_multiplier"),
        ({"noise_multiplier": None}, "noise_multiplier"),
        ({"noise_multiplier": float("nan")}, "noise_multiplier"),
        ({"noise_multiplier": float("inf")}, "noise_multiplier"),
        ({"noise_multiplier": 10**400}, "noise_multiplier"),
        ({"steps": 0}, "steps"),
        ({"steps": 1.0}, "steps"),
        ({"steps": True}, "steps"),
        ({"steps": 10**13}, "steps"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"sample_rate": 1.1}, "sample_rate"),
        ({"sample_rate": None}, "sample_rate"),
        ({"sampling": "shuffled"}, "sampling"),
        ({"sampling": "fixed"}, "sample_rate"),
        ({"cohort": 3}, "cohort"),
        ({"population": 3}, "population"),
        ({"clients": 0}, "clients"),
        ({"clients": 2.0}, "clients"),
        ({"survivors": 2}, "survivors"),
        ({"clients": 2, "survivors": 3}, "survivors"),
        ({"clients": 2, "survivors": 0}, "survivors"),
        ({"colluders": -1}, "colluders"),
        ({"aggregators": -1}, "aggregators"),
        ({"aggregators": True}, "aggregators"),
        ({"aggregators": 2}, "aggregator_multiplier"),
        ({"aggregators": 2, "aggregator_multiplier": -1.0}, "aggregator_multiplier"),
        ({"aggregator_multiplier": 1.0}, "aggregator_multiplier"),
        ({"aggregator_multiplier": None}, "aggregator_multiplier"),
        ({"aggregators": 2, "aggregator_multiplier": 1.0, "noise_multiplier": False}, "noise_multiplier"),
        ({"colluders": None}, "colluders"),
        ({"dimension": 0}, "dimension"),
        ({"scale": 0.5}, "scale"),
        ({"scale": 2.0**63}, "scale"),
        ({"noise": 1}, "noise"),
    ],
)
def test_a_bad_entry_is_one_sentence_with_file_index_and_key(tmp_path, change, key):
    path = write(tmp_path, [GOOD, {**GOOD, **change}])
    with pytest.raises(PrivacyError) as caught:
        parse_history(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert "entry 1" in sentence
    assert f'"{key}"' in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert len(sentence.removeprefix(f"History {path}: ")) < 300


@pytest.mark.parametrize("key", ["mechanism", "noise_multiplier", "steps", "sample_rate"])
def test_a_missing_key_is_named(tmp_path, key):
    entry = {name: value for name, value in GOOD.items() if name != key}
    with pytest.raises(PrivacyError, match=f'entry 0: "{key}" is missing'):
        parse_history(write(tmp_path, [entry]))


@pytest.mark.parametrize("missing", ["cohort", "population"])
def test_fixed_sampling_needs_its_cohort_and_population(tmp_path, missing):
    entry = {"mechanism": "gaussian", "noise_multiplier": 1, "steps": 1, "sampling": "fixed", "cohort": 2}
    entry["population"] = 4
    del entry[missing]
    with pytest.raises(PrivacyError, match=f'"{missing}" is missing'):
        parse_history(write(tmp_path, [entry]))


def test_a_cohort_above_the_population_is_refused():
    with pytest.raises(PrivacyError, match="above the population of 4"):
        MechanismEvent("gaussian", 1.0, 1, sampling="fixed", cohort=5, population=4)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[1" + "0" * 5000 + "]", "is not JSON"),
        ("{}", "must be a JSON list"),
        ("[]", "must be a JSON list"),
        ("null", "must be a JSON list"),
        ("[[]]", "entry 0"),
        ("[3]", "entry 0"),
        ('[{"steps": 1, "steps": 2}]', '"steps" appears twice'),
        ('[{"mechanism": "gaussian", "steps": 1, "sample_rate": 1, "noise_multiplier": NaN}]', "noise_multiplier"),
        ('[{"mechanism": "gaussian", "steps": 1, "sample_rate": 1, "noise_multiplier": 1e999}]', "noise_multiplier"),
    ],
)
def test_a_file_that_is_no_history_is_one_sentence(tmp_path, content, says):
    path = write(tmp_path, content)
    with pytest.raises(PrivacyError) as caught:
        parse_history(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(PrivacyError, match="cannot be read"):
        parse_history(tmp_path / "absent.json")
    with pytest.raises(PrivacyError, match="cannot be read"):
        parse_history(tmp_path)
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(PrivacyError, match="is not JSON"):
        parse_history(tmp_path / "latin")


@settings(deadline=None)
@given(
    entry=st.dictionaries(
        st.sampled_from([*GOOD, "clients", "survivors", "colluders", "cohort", "population", "scale", "x"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([])),
    )
)
def test_any_entry_is_an_event_or_refused_as_one(entry):
    try:
        event = MechanismEvent.from_json({**GOOD, **entry})
    except PrivacyError:
        return
    assert event.noise_multiplier > 0
    assert MechanismEvent.from_json(event.to_json()) == event


def test_colluders_may_outnumber_the_survivors():
    assert MechanismEvent("gaussian", 1.0, 1, 1.0, clients=3, survivors=2, colluders=2).colluders == 2


def test_sampled_tells_whether_a_contribution_can_be_left_out():
    assert MechanismEvent("gaussian", 1.0, 1, 0.5).sampled
    assert not MechanismEvent("gaussian", 1.0, 1, 1).sampled
    assert MechanismEvent("gaussian", 1.0, 1, sampling="fixed", cohort=1, population=2).sampled
    assert not MechanismEvent("gaussian", 1.0, 1, sampling="fixed", cohort=2, population=2).sampled


@pytest.mark.parametrize("delta", [0, 1, -0.1, 1.5, float("nan"), "1e-5", None, True])
def test_delta_is_between_zero_and_one(delta):
    with pytest.raises(PrivacyError, match='"delta"'):
        check_delta(delta)
