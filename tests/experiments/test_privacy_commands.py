"""`sotto epsilon`, `calibrate` and `ledger`: every number with what belongs to it, every mistake one sentence."""

import json
from dataclasses import replace

import pytest
import typer
from typer.testing import CliRunner

from experiments.commands import privacy
from fl_core.privacy.ledger import Ledger, LedgerHeader, Opening
from secagg.errors import SottoError

app = typer.Typer()
privacy.register(app)
BASIC = ["--noise-multiplier", "1", "--sample-rate", "0.1", "--steps", "100", "--delta", "1e-5"]


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, SottoError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def run_json(*words):
    result = run(*words, "--json")
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_epsilon_answers_with_everything_that_belongs_to_the_number():
    answer = run_json("epsilon", *BASIC)
    assert answer["epsilon"] == pytest.approx(7.0466, abs=1e-4)
    assert answer["accountant"] == "pld"
    assert (answer["unit"], answer["neighbouring"], answer["delta"]) == ("example", "zero_out", 1e-5)
    assert answer["proven"] is False
    assert answer["notes"]
    assert answer["views"]["release"]["epsilon"] == answer["epsilon"]
    for view in ("aggregators", "local"):
        assert answer["views"][view]["epsilon"] is None
        assert '"clients"' in answer["views"][view]["note"]


def test_epsilon_takes_the_accountant_unit_and_relation_it_is_told():
    answer = run_json("epsilon", *BASIC, "--accountant", "rdp", "--unit", "client")
    assert answer["epsilon"] == pytest.approx(7.90385, abs=1e-4)
    assert (answer["accountant"], answer["unit"]) == ("rdp", "client")
    answer = run_json("epsilon", *BASIC, "--neighbouring", "replace_one")
    assert answer["epsilon"] == pytest.approx(10.5164, abs=1e-3)


def test_integer_noise_is_proven_with_the_idealised_number_beside_it():
    answer = run_json("epsilon", *BASIC, "--mechanism", "discrete_gaussian", "--clients", 10, "--scale", 65536)
    assert answer["accountant"] == "rdp"
    assert answer["proven"] is True
    assert answer["idealised"]["epsilon"] == pytest.approx(7.0466, abs=1e-4)
    assert answer["idealised"]["proven"] is False
    assert answer["views"]["local"]["epsilon"] > answer["epsilon"]
    skellam = run_json("epsilon", *BASIC, "--mechanism", "skellam", "--dimension", 10, "--scale", 65536)
    assert skellam["epsilon"] > answer["epsilon"]


def test_noise_of_the_aggregators_counts_for_the_release_and_once_against_all_but_one_of_them():
    grid = ["--mechanism", "discrete_gaussian", "--dimension", 10, "--scale", 65536]
    words = ["--sample-rate", "0.1", "--steps", "100", "--delta", "1e-5", *grid]
    alone = ["--noise-multiplier", 0, "--aggregators", 3, "--aggregator-multiplier", 1, "--clients", 10]
    answer = run_json("epsilon", *words, *alone)
    one = run_json("epsilon", *words, "--noise-multiplier", 1)
    three = run_json("epsilon", *words, "--noise-multiplier", 3**0.5)
    assert answer["views"]["aggregators"]["epsilon"] == pytest.approx(one["epsilon"], rel=1e-6)
    assert answer["views"]["release"]["epsilon"] == pytest.approx(three["epsilon"], rel=1e-6)
    assert answer["views"]["local"]["epsilon"] is None
    both = ["--noise-multiplier", 1, "--aggregators", 3, "--aggregator-multiplier", 1, "--clients", 10]
    views = run_json("epsilon", *words, *both)["views"]
    assert views["release"]["epsilon"] < answer["views"]["release"]["epsilon"]
    assert views["local"]["epsilon"] is not None


def test_epsilon_of_a_history(tmp_path):
    path = tmp_path / "history.json"
    entry = {"mechanism": "gaussian", "noise_multiplier": 2, "sample_rate": 1, "steps": 10, "clients": 10}
    path.write_text(json.dumps([entry, {**entry, "survivors": 9}]))
    answer = run_json("epsilon", "--delta", "1e-5", "--history", path)
    assert 11.480 < answer["epsilon"] < 12.262
    assert answer["views"]["local"]["epsilon"] == pytest.approx(54.377, abs=1e-3)
    path.write_text(json.dumps([{**entry, "colluders": 10}]))
    answer = run_json("epsilon", "--delta", "1e-5", "--history", path)
    assert answer["views"]["aggregators"]["epsilon"] is None
    for option in ("--clients", "--survivors", "--colluders", "--scale", "--aggregators"):
        with pytest.raises(SottoError, match=f"{option} cannot be given with --history"):
            run("epsilon", "--delta", "1e-5", "--history", path, option, 3)


def test_a_lost_cause_is_null_and_still_json():
    words = ["--noise-multiplier", "1e-9", "--sample-rate", "0.5", "--steps", "1", "--delta", "1e-5"]
    assert run_json("epsilon", *words)["epsilon"] is None
    assert "none" in run("epsilon", *words).stdout


def test_people_get_a_table_with_unit_and_adversary():
    shown = run("epsilon", *BASIC, "--unit", "client").stdout
    for word in ("release", "aggregators", "local", "7.0466", "client", "zero_out", "pld", "1e-05"):
        assert word in shown


def test_calibrate_rounds_up_and_epsilon_agrees():
    answer = run_json("calibrate", "--epsilon", 8, "--sample-rate", 0.1, "--steps", 100, "--delta", 1e-5)
    assert answer["accountant"] == "pld"
    assert answer["noise_multiplier"] == pytest.approx(0.936, abs=1e-3)
    assert answer["epsilon"] <= answer["target_epsilon"] == 8
    words = ["--sample-rate", "0.1", "--steps", "100", "--delta", "1e-5"]
    back = run_json("epsilon", "--noise-multiplier", repr(answer["noise_multiplier"]), *words)
    assert back["epsilon"] == answer["epsilon"]
    shown = run("calibrate", "--epsilon", 8, *words, "--accountant", "rdp").stdout
    assert "0.9937" in shown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--noise-multiplier", "0"], '"noise_multiplier"'),
        (["--noise-multiplier", "-1"], '"noise_multiplier"'),
        (["--noise-multiplier", "nan"], '"noise_multiplier"'),
        (["--sample-rate", "0"], '"sample_rate"'),
        (["--sample-rate", "1.01"], '"sample_rate"'),
        (["--sample-rate", "inf"], '"sample_rate"'),
        (["--steps", "0"], '"steps"'),
        (["--delta", "0"], '"delta"'),
        (["--delta", "1"], '"delta"'),
        (["--delta", "nan"], '"delta"'),
        (["--accountant", "moments"], "accountant"),
        (["--mechanism", "laplace"], '"mechanism"'),
        (["--neighbouring", "add"], '"neighbouring"'),
        (["--unit", "user"], '"unit"'),
        (["--survivors", "3"], '"survivors"'),
        (["--mechanism", "skellam"], '"scale"'),
        (["--mechanism", "discrete_gaussian", "--accountant", "pld"], "rdp accountant"),
        (["--history", "absent.json"], "--noise-multiplier cannot be given with --history"),
        (["--aggregators", "-1"], '"aggregators"'),
        (["--aggregator-multiplier", "1"], '"aggregator_multiplier"'),
        (["--aggregators", "3", "--aggregator-multiplier", "0"], '"aggregator_multiplier"'),
    ],
)
@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_a_mistake_is_one_sentence(words, says, json_too):
    with pytest.raises(SottoError) as caught:
        run("epsilon", *BASIC, *words, *json_too)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_missing_options_are_named_together():
    with pytest.raises(SottoError, match="--noise-multiplier, --sample-rate, --steps are missing, or give --history"):
        run("epsilon", "--delta", "1e-5")
    with pytest.raises(SottoError, match="--steps is missing"):
        run("calibrate", "--epsilon", 1, "--delta", "1e-5", "--sample-rate", 1)


@pytest.mark.parametrize("target", ["0", "nan", "-2", "1e-12"])
def test_a_target_that_cannot_be_met_is_one_sentence(target):
    words = ["--sample-rate", "1", "--steps", "100000", "--delta", "1e-12"]
    with pytest.raises(SottoError, match="epsilon"):
        run("calibrate", "--epsilon", target, *words)


@pytest.fixture
def run_folder(tmp_path):
    header = LedgerHeader("r7", "example", "distributed", "discrete_gaussian", "zero_out", 1e-5, 1.0, 1024.0, 9, 4, 2)
    with Ledger.create(tmp_path / "ledger.jsonl", replace(header, noise_source="seeded")) as ledger:
        for number in range(3):
            ledger.append(Opening(number, 0, 4, "0" * 64, 2.0, 1024.0))
    return tmp_path


def test_ledger_derives_the_epsilons_again(run_folder):
    answer = run_json("ledger", run_folder)
    expected = run_json(
        "epsilon",
        *["--noise-multiplier", 2, "--sample-rate", 1, "--steps", 3, "--delta", 1e-5, "--clients", 4],
        *["--mechanism", "discrete_gaussian", "--scale", 1024, "--dimension", 9],
    )
    assert answer["views"] == expected["views"]
    assert answer["epsilon"] == expected["epsilon"]
    assert (answer["run"], answer["openings"], answer["lines"]) == ("r7", 3, 4)
    assert answer["private"] is False
    assert any("seed" in warning for warning in answer["warnings"])
    assert run_json("ledger", run_folder / "ledger.jsonl") == answer
    shown = run("ledger", run_folder).stdout
    assert "3 openings" in shown
    assert "warning: " in shown


def test_ledgers_of_several_runs_are_added_up(run_folder, tmp_path):
    other = tmp_path / "other.jsonl"
    header = LedgerHeader("r8", "example", "distributed", "discrete_gaussian", "zero_out", 1e-5, 1.0, 1024.0, 9, 4, 2)
    with Ledger.create(other, replace(header, data="mnist", contribution="an image")) as ledger:
        for number in range(2):
            ledger.append(Opening(number, 0, 4, "0" * 64, 2.0, 1024.0))
    answer = run_json("ledger", run_folder, other)
    assert answer["runs"] == [run_json("ledger", run_folder), run_json("ledger", other)]
    (joint,) = answer["joint"]
    expected = run_json(
        "epsilon",
        *["--noise-multiplier", 2, "--sample-rate", 1, "--steps", 5, "--delta", 1e-5, "--clients", 4],
        *["--mechanism", "discrete_gaussian", "--scale", 1024, "--dimension", 9],
    )
    assert joint["views"] == expected["views"]
    assert (joint["runs"], joint["unknown"], joint["openings"]) == (["r7", "r8"], ["r7"], 5)
    assert joint["private"] is False
    shown = run("ledger", run_folder, other).stdout
    assert f"{run_folder}: run r7, 3 openings" in shown
    assert f"together: {run_folder}, {other} (an image on mnist)" in shown
    assert f"a ledger does not say what it is about: {run_folder}\n" in shown
    assert f"{joint['epsilon']:.4f}" in shown
    with pytest.raises(SottoError, match="ledgers of one run"):
        run("ledger", run_folder, run_folder)


def test_runs_on_texts_of_ones_own_are_called_by_their_folders_and_explained_once(run_folder):
    header = LedgerHeader("r9", "example", "distributed", "discrete_gaussian", "zero_out", 1e-5, 1.0, 1024.0, 9, 4, 2)
    other = run_folder / "{other}"
    other.mkdir()
    Ledger.create(other / "ledger.jsonl", header).close()
    shown = run("ledger", run_folder / "ledger.jsonl", other).stdout
    assert f"together: {run_folder}, {other}\n" in shown
    assert shown.count("no ledger of these says which data it is about, so they count as runs on the same") == 1
    assert "a ledger does not say" not in shown


def test_ledgers_of_runs_on_different_data_are_added_up_separately_and_it_says_so(run_folder, tmp_path):
    header = LedgerHeader("r1", "example", "distributed", "discrete_gaussian", "zero_out", 1e-5, 1.0, 1024.0, 9, 4, 2)
    files = [tmp_path / f"{data}.jsonl" for data in ("mnist", "digits")]
    for file in files:
        Ledger.create(file, replace(header, run=file.stem, data=file.stem, contribution="an image")).close()
    answer = run_json("ledger", *files, run_folder)
    assert [joint["runs"] for joint in answer["joint"]] == [["mnist", "r7"], ["digits", "r7"]]
    shown = run("ledger", *files).stdout
    assert "do not all protect the same contributions, so there is no sum of all of them" in shown


def test_a_corrupted_ledger_is_one_sentence_with_its_line(run_folder):
    path = run_folder / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"round":1', b'"round":7'))
    with pytest.raises(SottoError, match=r"ledger\.jsonl, line 3: was changed"):
        run("ledger", run_folder, "--json")
    with pytest.raises(SottoError, match="cannot be read"):
        run("ledger", run_folder / "elsewhere")
