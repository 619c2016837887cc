"""`sotto data import`: what it says, the command that it prints, and that this command trains on the folder."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest

from experiments.commands.next_command import run_on
from experiments.datasets import load_posts
from fl_core.config_file import load_config
from tests.docs.blocks import python_of
from tests.experiments.language.tiny_language import save


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def texts(tmp_path):
    """Twelve topics of Python's help as a table."""
    posts = load_posts("topics").train
    users = sorted(set(posts["user"]))[:12]
    with (tmp_path / "texts.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerows([("author", "body"), ("", "nobody's words"), (users[0], " … ")])
        writer.writerows((row["user"], row["text"]) for row in posts if row["user"] in users)
    return "texts.csv"


def test_two_commands_tune_a_model_on_a_table_of_texts(sotto, texts, tmp_path):
    code, out, err = sotto("data", "import", texts, "--out", "own", "--user-column", "author", "--text-column", "body")
    assert (code, err) == (0, "")
    assert out.startswith("train: 10 users, ")
    assert "test:  2 users, " in out
    assert "left out: rows without a user: 1\n" in out
    assert "left out: texts without a letter: 1\n" in out
    (line,) = (line for line in out.splitlines() if line.startswith("next:  sotto "))
    command = shlex.split(line.removeprefix("next:  sotto "))
    assert command[-2:] == ["data.name=./own", "federation.clients=10"]
    base = save(tmp_path / "base")
    short = ["federation.rounds=1", "lora.blocks=[-1]", "data.test_sequences=20", f"model.base={base}"]
    code, out, err = sotto(*command, *short, "aggregation.backend=plaintext", "--out", "run", "--json")
    assert code == 0, err
    summary = json.loads(out)
    assert summary["data"] == "own"
    assert summary["privacy"]["views"]["release"]["epsilon"] <= 8
    # The documents' own lines, on this run's base and adapter.
    (lines,) = (block.text for block in python_of("docs/tutorial-own-data.md") if "PeftModel" in block.text)
    names: dict[str, object] = {}
    exec(lines.replace("experiments/bases/mini", str(base)).replace("runs/own_texts/adapter", "run/adapter"), names)
    tuned = names["model"]
    assert any(bool(p.any()) for name, p in tuned.named_parameters() if "lora_B" in name)


def test_json_has_the_counts_and_the_command(sotto, texts):
    columns = ["--user-column", "author", "--text-column", "body"]
    _, out, _ = sotto("data", "import", texts, "--out", "own", *columns, "--min-texts", 3, "--json")
    found = json.loads(out)
    users = found["train"]["users"] + found["test"]["users"] + found["left_out"]["users_with_few_texts"]
    assert users == 12
    assert found["left_out"]["rows_without_user"] == 1
    assert f"federation.clients={found['train']['users']}" in found["command"]


def test_mistakes_are_one_sentence(mistake, sotto, texts):
    assert mistake("data", "import", "none.csv", "--out", "own").startswith("none.csv is not there")
    told = mistake("data", "import", texts, "--out", "own", "--user-column", "authors")
    assert told == "texts.csv has no column 'authors'; did you mean --user-column author? there are: author, body"
    assert not Path("own").exists()
    assert mistake("data", "import", texts, "--out", "${HOME}/own").startswith("--out is ${HOME}/own; allowed: a name")
    assert not Path("${HOME}").exists()


def test_more_clients_than_users_are_refused_with_how_many_there_are(mistake, sotto, texts):
    sotto("data", "import", texts, "--out", "own", "--user-column", "author", "--text-column", "body")
    config = Path(__file__).parents[2] / "experiments" / "configs" / "own_texts.yaml"
    told = mistake("run", config, "data.name=./own", "--quiet")
    assert (
        told
        == "federation.clients is 100 but there are 10 users; allowed: 1 to 10 (all of them: federation.clients=10)"
    )
    told = mistake("run", config, "--quiet")
    assert told.startswith("unknown data set 'texts-of-your-own'; ")
    assert told.endswith(", or a folder of posts (data.name=./FOLDER)")


def test_texts_in_which_the_base_model_sees_no_word_are_refused(mistake, sotto, tmp_path):
    (tmp_path / "t.csv").write_text("user,text\na,水\nb,火\n", encoding="utf-8")
    _, out, _ = sotto("data", "import", "t.csv", "--out", "own", "--json")
    command = shlex.split(json.loads(out)["command"])
    assert "none of 1 texts has a word as this base model's vocabulary" in mistake(*command[1:], "--quiet")


@pytest.mark.parametrize("name", ["digits", "7", "a: b", "mit leer", "'", "null", "[a]", "a #b", "/abs/x"])
def test_the_printed_command_means_the_folder_whatever_its_name(name):
    command = shlex.split(run_on(Path(name), 5))
    config = load_config(Path(command[2]), command[3:])
    assert Path(config.data.name) == Path(name)
    assert config.data.name != "digits"
    assert config.federation.clients == 5
