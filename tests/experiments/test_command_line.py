"""`sotto` from end to end: a run, its folder, resuming, reports, and one sentence for every mistake.

Each kind of end is seen in a process of its own, as users start it; what else is asked of a command is asked in this
one, which has its libraries imported.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version

import pytest
import yaml
from peft import PeftModel

from experiments.datasets import load_images
from experiments.models import Cnn, CnnConfig

CONFIG = {
    "data": {"name": "digits", "classes": [5, 6, 7, 8, 9]},
    "model": {
        "channels": [4, 8],
        "pretrain": {"data": "digits", "classes": [0, 1, 2, 3, 4], "epochs": 2, "batch_size": 64, "shift": 0},
    },
    "lora": {"rank": 4, "alpha": 8},
    "federation": {"clients": 5, "rounds": 4, "sample_rate": 0.5},
    "privacy": {"epsilon": 8.0, "delta": 1e-3},
    "server": {"optimizer": "sgd", "learning_rate": 2.0},
    "aggregation": {"backend": "plaintext"},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with `run.yaml`; pre-trained bases are cached below it, and nothing is looked for on the network."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    return folder


def environment(home):
    return {"SOTTO_CACHE": str(home / "cache"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


@pytest.fixture(autouse=True)
def _environment(monkeypatch, home):
    for name, value in environment(home).items():
        monkeypatch.setenv(name, value)


def in_a_process(home, *arguments):
    """The command as users start it."""
    return subprocess.run(
        [sys.executable, "-m", "experiments.cli", *arguments],
        capture_output=True, text=True, env=os.environ | environment(home), timeout=200, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(home):
    """A finished run."""
    result = in_a_process(home, "run", str(home / "run.yaml"), "--out", str(home / "done"), "--quiet")
    assert result.returncode == 0, result.stderr
    return home / "done", result.stdout


def test_a_run_prints_its_table_and_leaves_the_documented_folder(done):
    folder, printed = done
    for text in ("digits", "distributed", "discrete_gaussian", "unit example, delta 0.001", "plaintext aggregation"):
        assert text in printed
    names = {item.name for item in folder.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "ledger.jsonl", "checkpoints", "adapter", "figures", "tensorboard"} <= names
    assert printed.splitlines()[-1].endswith(f"report: {folder / 'report.html'}")
    assert "intact" in (folder / "report.html").read_text()
    assert (folder / "figures" / "accuracy.png").stat().st_size > 10_000
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["round"] for row in rows] == [0, 1, 2, 3, 4]
    assert rows[-1]["epsilon_release"] <= 8


def test_the_adapter_loads_with_peft(done):
    folder, _ = done
    digits = load_images("digits")
    base = Cnn(CnnConfig.for_images(digits.image_size, (4, 8), digits.classes))
    model = PeftModel.from_pretrained(base, folder / "adapter")
    assert any(parameter.abs().sum() > 0 for name, parameter in model.named_parameters() if "lora_B" in name)


def ledger_of(sotto, folder):
    code, out, err = sotto("ledger", folder, "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_ledger_command_gives_the_epsilon_of_the_summary(sotto, done):
    folder, _ = done
    answer = ledger_of(sotto, folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert answer["views"]["release"]["epsilon"] == summary["privacy"]["views"]["release"]["epsilon"] <= 8
    assert answer["openings"] == 4


def test_a_flipped_byte_in_the_ledger_is_named_by_line_and_stops_a_resume(mistake, done, tmp_path):
    folder, _ = done
    content = bytearray((folder / "ledger.jsonl").read_bytes())
    second = content.index(b"\n") + 20
    content[second] ^= 1
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "ledger.jsonl").write_bytes(bytes(content))
    assert "line 2" in mistake("ledger", copy)


def test_a_folder_with_a_run_is_not_overwritten(mistake, home, done):
    folder, _ = done
    assert "already holds a run" in mistake("run", home / "run.yaml", "--out", folder)


def test_resuming_with_another_configuration_names_the_difference(mistake, home, done):
    folder, _ = done
    sentence = mistake("run", home / "run.yaml", "lora.rank=8", "--out", folder, "--resume")
    assert "lora.rank is 8 now and was 4" in sentence


@pytest.mark.parametrize("missing", ["ledger.jsonl", "the data"])
def test_a_resume_that_would_forget_openings_or_use_other_data_is_refused(
    mistake, monkeypatch, home, done, tmp_path, missing
):
    folder, _ = done
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    arguments = ["run", home / "run.yaml", "--out", copy, "--resume"]
    if missing == "ledger.jsonl":
        (copy / missing).unlink()
        assert "ledger.jsonl cannot be opened" in mistake(*arguments)
        return
    # The same configuration, but what it named is gone and a stand-in of the same shape would be used.
    path = copy / "config.yaml"
    path.write_text(path.read_text().replace("name: digits", "name: mnist").replace("data: digits", "data: mnist"))
    arguments[2:2] = ["data.name=mnist", "model.pretrain.data=mnist"]
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path / "nothing"))
    assert "the ledger's warnings was" in mistake(*arguments)
    assert (copy / "ledger.jsonl").read_bytes() == (folder / "ledger.jsonl").read_bytes()


def test_reports_draw_several_runs_and_refuse_unfinished_ones(sotto, mistake, done, tmp_path):
    folder, _ = done
    code, _, err = sotto("report", folder, "--out", tmp_path / "report")
    assert code == 0, err
    assert {item.name for item in (tmp_path / "report").iterdir()} == {
        "table.md",
        "runs.json",
        "accuracy.png",
        "report.html",
    }
    assert "| done | digits | 5 | example | distributed |" in (tmp_path / "report" / "table.md").read_text()
    assert "holds no finished run" in mistake("report", tmp_path)
    code, out, err = sotto("report", folder, "--out", tmp_path / "report", "--json")
    assert (code, err) == (0, "")
    (arm,) = json.loads(out)["arms"]
    assert arm["name"] == "done"
    assert arm["epsilon"]["release"] <= 8
    assert sotto("report", folder, "--out", tmp_path / "report", "--quiet") == (0, "", "")
    assert sotto("report", folder, "--out", folder.parent, "--quiet")[0] == 0
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train.jsonl").write_text("{}")
    told = mistake("report", folder, "--out", tmp_path / "own")
    assert told.endswith("own holds train.jsonl and is no report's folder; choose a new or empty one with --out")
    assert "is no report's folder" in mistake("report", folder, "--out", folder)


@pytest.mark.parametrize("options", [(), ("--json",), ("--quiet",)])
def test_a_report_about_a_broken_ledger_is_written_and_an_error(sotto, done, tmp_path, options):
    folder, _ = done
    copy, out = tmp_path / "copy", tmp_path / "report"
    shutil.copytree(folder, copy)
    lines = (copy / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "ledger.jsonl").write_bytes(b"".join([*lines[:2], *lines[3:]]))
    code, printed, err = sotto("report", copy, "--out", out, *options)
    assert code == 2
    said = "the report is written, but the ledger does not bear out the numbers of copy: Ledger ledger.jsonl, line 3"
    assert err.startswith(f"error: {said}")
    assert "The ledger does not bear out the numbers of copy:" in (out / "table.md").read_text()
    assert "Proven" not in (out / "report.html").read_text()
    if options == ("--json",):
        assert list(json.loads(printed)["ledger_faults"]) == ["copy"]


def test_the_version_is_printed_and_nothing_else(sotto):
    code, out, err = sotto("--version")
    assert (code, err) == (0, "")
    assert out == f"sotto {version('sotto')}\n"


@pytest.mark.parametrize("content", ["{}", "[]", '{"config": {}}'])
def test_a_damaged_summary_is_a_sentence(mistake, tmp_path, content):
    (tmp_path / "summary.json").write_text(content)
    assert "summary.json is no summary that a run wrote: " in mistake("report", tmp_path, "--out", tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_progress_for_scripts_is_json_beside_a_json_result(sotto, mistake, home, tmp_path):
    arguments = ["run", home / "run.yaml", "federation.rounds=2", "--out", tmp_path / "run", "--progress", "json"]
    assert "exclude each other" in mistake(*arguments, "--quiet")
    code, out, err = sotto(*arguments, "--json")
    assert code == 0, err
    events = [json.loads(line) for line in err.splitlines()]
    rounds = [one for one in events if one["event"] == "round"]
    assert [one["round"] for one in rounds] == [1, 2]
    assert rounds[-1]["epsilon"] == {
        name: pytest.approx(view["epsilon"]) for name, view in json.loads(out)["privacy"]["views"].items()
    }
    assert rounds[-1]["epsilon_target"] == 8
    assert {"sizing the noise", "writing adapter, figures and report"} <= {one.get("text") for one in events}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "absent.yaml"], "absent.yaml does not exist"),
        (["run", "x" * 300], "File name too long"),
        (["ledger", "x" * 300], "File name too long"),
        (["run", "{home}/run.yaml", "federation.client=3"], "did you mean clients"),
        (["run", "{home}/run.yaml", "federation.clients=three"], "federation.clients"),
        (["run", "{home}/run.yaml", "privacy.trust=none"], "privacy.trust is none"),
        (["run", "{home}/run.yaml", "federation.n_min=9"], "federation.n_min is 9; allowed: 1 to"),
        (["run", "{home}/run.yaml", "data.name=minst", "data.fallback=refuse"], "did you mean mnist"),
        (["run", "{home}/run.yaml", "federation.clients=5000"], "5000"),
        (["run", "{home}/run.yaml", "lora.targets=[attention]"], "no layer that can be adapted is called 'attention'"),
        (["run", "{home}/run.yaml", "privacy.scale_bits=4", "privacy.clip_norm=0.1"], "raise privacy.scale_bits"),
        (["run", "{home}/run.yaml", "--ot", "x"], "--ot"),
        (["epsilon", "--noise-multiplier", "-1", "--sample-rate", "1", "--steps", "1", "--delta", "1e-5"], "noise"),
        (["ledger", "{home}"], "ledger.jsonl"),
        (["rn"], "No such command 'rn'. Did you mean 'run'?"),
        (["run", "{home}"], "is a folder; give the path of a YAML file"),
        (
            ["run", "{home}/run.yaml", "--epsilon", "2"],
            "no option --epsilon; keys of the configuration are said as priva",
        ),
        (["run", "{home}/run.yaml", "epsilon=2"], "unknown key epsilon; did you mean privacy.epsilon?"),
        (
            ["run", "{home}/run.yaml", "privacy.epsilon=-1"],
            "override 'privacy.epsilon=-1': privacy.epsilon is -1.0; allow",
        ),
        (["nonsense"], "nonsense"),
    ],
)
def test_every_mistake_is_one_sentence_and_exit_code_2(mistake, home, arguments, says, tmp_path):
    filled = [argument.format(home=home) for argument in arguments]
    if filled[0] == "run":
        filled += ["--out", str(tmp_path / "out")]
    assert says in mistake(*filled)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["federation.client=3"], "did you mean clients"),
        (["federation.clients=5000"], "5000"),  # told when every library is imported and the data are read
    ],
)
def test_a_mistake_in_a_process_of_its_own_leaves_one_line_and_no_traceback(home, tmp_path, overrides, says):
    result = in_a_process(home, "run", str(home / "run.yaml"), *overrides, "--out", str(tmp_path / "out"))
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_missing_data_is_replaced_by_the_embedded_set_only_with_a_word_before_the_first_round(
    sotto, mistake, monkeypatch, home, tmp_path
):
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path / "nothing"))
    arguments = ["run", home / "run.yaml", "data.name=mnist", "model.pretrain.data=fashion_mnist"]
    code, _, err = sotto(*arguments, "--out", tmp_path / "out")
    assert code == 0, err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["data"] == "digits"
    (said,) = [note for note in summary["notes"] if "mnist is not here" in note and note.startswith("mnist")]
    assert "digits was used instead" in said
    before, first, _ = err.partition("round 1/")
    assert first
    assert f"note: {said}" in before
    assert "SOTTO_DATA" in mistake(*arguments, "data.fallback=refuse", "--out", tmp_path / "o2")


def test_ctrl_c_leaves_a_run_that_can_be_resumed_to_its_end(sotto, home, tmp_path):
    folder = tmp_path / "run"
    arguments = ["run", str(home / "run.yaml"), "federation.rounds=60", "aggregation.backend=smpc"]
    arguments += ["aggregation.parties=2", "--out", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    metrics = folder / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not metrics.exists() or metrics.read_text().count("\n") < 4):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in errors
    assert "Traceback" not in errors
    done = metrics.read_text().count("\n")
    assert done >= 4
    code, _, err = sotto(*arguments, "--resume", "--quiet")
    assert code == 0, err
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row["round"] for row in rows] == list(range(len(rows)))
    answer = ledger_of(sotto, folder)
    assert answer["views"]["aggregators"]["epsilon"] <= 8
    # The interrupted round may have been opened and lost; it is then counted twice and the budget ends a round earlier.
    assert 0 <= answer["openings"] - (len(rows) - 1) <= 1


def test_a_killed_process_resumes_from_what_it_had(sotto, home, tmp_path):
    folder = tmp_path / "run"
    arguments = ["run", str(home / "run.yaml"), "federation.rounds=80", "--out", str(folder), "--quiet"]
    command = [sys.executable, "-m", "experiments.cli", *arguments]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    metrics = folder / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not metrics.exists() or metrics.read_text().count("\n") < 4):
        time.sleep(0.02)
    process.kill()
    process.wait()
    code, _, err = sotto(*arguments, "--resume")
    assert code == 0, err
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert rows[-1]["round"] >= 78
    assert ledger_of(sotto, folder)["views"]["release"]["epsilon"] <= 8


def test_sweeps_run_every_variant_once_and_write_one_table(sotto, mistake, home, tmp_path):
    (home / "sweep.yaml").write_text(
        yaml.safe_dump(
            {
                "base": "run.yaml",
                "common": ["federation.rounds=2"],
                "runs": {"a": ["privacy.epsilon=4"], "none": ["privacy.trust=none", "privacy.epsilon=null"]},
            }
        )
    )
    for shown in (["--progress", "json"], ["--quiet"]):
        code, out, err = sotto("sweep", home / "sweep.yaml", "--out", tmp_path / "sweep", "--json", *shown)
        assert code == 0, err
        arms = json.loads(out)["arms"]
        assert [(arm["name"], arm["epsilon_target"], len(arm["runs"])) for arm in arms] == [
            ("a", 4, 1),
            ("none", None, 1),
        ]
        events = [json.loads(line) for line in err.splitlines()]
        rounds = [(one["title"], one["round"]) for one in events if one["event"] == "round"]
        assert rounds == (
            [("a (1/2)", 1), ("a (1/2)", 2), ("none (2/2)", 1), ("none (2/2)", 2)] if "json" in shown else []
        )
    assert "Ledgers intact" in (tmp_path / "sweep" / "report.html").read_text()
    assert (tmp_path / "sweep" / "table.md").read_text().count("digits |") == 2
    assert (tmp_path / "sweep" / "accuracy.png").exists()
    (home / "bad.yaml").write_text(yaml.safe_dump({"base": "run.yaml", "run": {}}))
    assert "unknown key run" in mistake("sweep", home / "bad.yaml", "--out", tmp_path / "x")
    assert "no run is called b" in mistake("sweep", home / "sweep.yaml", "--only", "b", "--out", tmp_path / "x")


def test_data_sets_are_listed_and_verified(sotto, mistake, monkeypatch, home, tmp_path):
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    listed = json.loads(sotto("data", "list", "--json")[1])["datasets"]
    assert {entry["name"]: entry["present"] for entry in listed} == {
        "digits": True,
        "fashion_mnist": False,
        "mnist": False,
        "stackexchange": False,
        "stackoverflow": False,
        "topics": True,
    }
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"cut short")
    code, out, err = sotto("data", "verify", "--json")
    assert code == 2
    assert json.loads(out)  # what is damaged is told beside the list
    assert err.count("\n") == 1
    assert "damaged: mnist" in err
    sentence = mistake("run", home / "run.yaml", "data.name=mnist", "--out", tmp_path / "o")
    assert "f68b3c2dcbeaaa9fbdd348bbdeb94873" in sentence
