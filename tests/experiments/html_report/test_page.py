"""The page without a browser: balanced, closed to the outside, readable without eyes, and honest about each run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from experiments.html_report import write_page
from experiments.stored_runs import ledgers_of, load_runs
from secagg.errors import SottoError
from tests.experiments.html_report.sample import HOSTILE, sample_run

VOID = {"meta", "wbr"}


class Page(HTMLParser):
    """A page as a tree's openings, with what is wrong about it."""

    def __init__(self, markup):
        super().__init__(convert_charrefs=True)
        self.open, self.found, self.words, self.wrong = [], [], [], []
        self.feed(markup)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Runs by name: folder, and what `sample_run` gave."""
    home = tmp_path_factory.mktemp("runs")
    kinds = {
        "own@1": {},
        "own@2": {"after": 0.88},
        "central": {"trust": "central"},
        "local": {"trust": "local", "after": 0.4},
        "none": {"trust": "none", "after": 0.95},
    }
    return {name: (home / name, sample_run(home / name, name, **kind)) for name, kind in kinds.items()}


def page(tmp_path, runs, ledgers, title=None):
    path = tmp_path / "report.html"
    write_page(runs, ledgers, path, title)
    made = path.read_text(encoding="utf-8")
    return made, Page(made)


@pytest.fixture(scope="module", params=["run", "sweep"])
def written(request, folders, tmp_path_factory):
    """The page of a run, and that of several."""
    chosen = ["own@1"] if request.param == "run" else list(folders)
    ledgers = {name: folders[name][0] / "ledger.jsonl" for name in chosen}
    return page(tmp_path_factory.mktemp("page"), [folders[name][1] for name in chosen], ledgers)


def test_tags_are_balanced_and_ids_are_there_once(written):
    _, read = written
    assert not read.wrong
    ids = [attributes["id"] for _, attributes in read.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    names = {name for _, a in read.found for key in ("aria-labelledby",) for name in (a.get(key) or "").split()}
    assert names <= set(ids)
    assert {a["href"].removeprefix("#") for a in read.all("a")} <= set(ids)


def test_nothing_is_loaded_and_nothing_else_may_run(written):
    made, read = written
    assert "http://" not in made
    assert "https://" not in made
    assert not re.search(r"url\((?!#)|@import|\bsrc=|\bstyle=|\bon\w+=", made)
    policy = next(a["content"] for a in read.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", made, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_there_are_landmarks_a_language_and_headings_in_order(written):
    made, read = written
    assert made.startswith('<!doctype html>\n<html lang="en">')
    assert made.count("</title><style>") == 1  # the document's, beside those of figures
    for tag in ("header", "nav", "main", "footer", "h1"):
        assert len(read.all(tag)) == 1, tag
    levels = [int(tag[1]) for tag, _ in read.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    first = next(a for tag, a in read.found if tag == "a")
    assert (first["class"], first["href"]) == ("skip", "#report")


def test_every_figure_has_words_and_every_table_a_caption_and_scopes(written):
    _, read = written
    assert len(read.all("svg")) > 5
    for attributes in read.all("svg"):
        assert attributes.get("aria-hidden") == "true" or (
            attributes["role"] == "img" and attributes["aria-labelledby"]
        )
    assert not read.all("img")
    assert len(read.all("caption")) == len(read.all("table")) > 2
    assert all(attributes.get("scope") in ("col", "row") for attributes in read.all("th"))
    for attributes in read.all("div"):
        if attributes.get("class") == "scroll":
            assert attributes["tabindex"] == "0"
            assert attributes["role"] == "region"
            assert attributes["aria-label"]


def test_a_run_has_its_headline_its_epsilons_in_words_and_its_ledger(folders, tmp_path):
    folder, run = folders["own@1"]
    _, read = page(tmp_path, [run], {"own@1": folder / "ledger.jsonl"})
    views = run[2]["privacy"]["views"]
    for words in (
        "In 6 rounds, 12 clients with 719 records of digits (embedded) trained a LoRA adapter of 100 parameters",
        "each client added a share of the noise, and 3 parties opened nothing but the sum",
        "Accuracy before 10.00%",
        "Accuracy after 90.00%",
        "Epsilon asked for 8 delta 1e-05, one record",
        f"Epsilon realised {views['aggregators']['epsilon']:.3f} in the aggregators view release",
        "Proven yes",
        "✓ intact",
        views["aggregators"]["adversary"],
        "is right at most",
        "whoever holds k records is protected k times less",
        run[2]["privacy"]["head"],
        "sotto ledger own@1",
        "torch 2.13.0",
        "Epsilon spent by round",
        "asked for in the aggregators view: 8",
        "the same vector as plain float32 400",
    ):
        assert words in read.text, words
    assert "not private" not in read.text


def test_a_sweep_compares_its_arms_with_means_and_deviations(folders, tmp_path):
    runs = [run for _, run in folders.values()]
    ledgers = {name: folder / "ledger.jsonl" for name, (folder, _) in folders.items()}
    _, read = page(tmp_path, runs, ledgers, "All of them")
    for words in (
        "5 runs of 4 settings",
        "trust central, distributed, local and none",
        "Best without privacy 95.00%",
        "Best with a proven epsilon 89.00% ± 1.41% between 2 runs own",
        "Ledgers intact 5 of 5",
        "0.8900 ± 0.0141",
        "These epsilons are no guarantee: none.",
        "Accuracy by round, 12 clients, enlarged",
        "Accuracy by epsilon and trust, 12 clients",
        "Epsilon by round, local view",
        "asked for: 8",
        "8 1e-05 2,981 99.97% 99.97%",
        "privacy. trust",  # which may be broken after the dot
    ):
        assert words in read.text, words
    assert read.text.startswith("All of them")


def test_an_extrapolation_to_other_clients_is_no_headline_and_its_epsilon_promises_nothing(tmp_path):
    runs = [sample_run(tmp_path / "own", after=0.7), sample_run(tmp_path / "more", "more", after=0.99)]
    runs[0][2]["config"]["privacy"]["epsilon"] = 2.0
    runs[1][2]["config"]["simulation"]["noise_cohort"] = 5000
    ledgers = {name: tmp_path / name / "ledger.jsonl" for name in ("own", "more")}
    _, read = page(tmp_path, runs, ledgers)
    assert "Best with a proven epsilon 70.00% own" in read.text
    promised = read.text.split("At most, for whoever the epsilon holds against")[1]
    assert " 2 1e-05 7.39 89% 7.4% " in promised
    assert "2,981" not in promised
    _, alone = page(tmp_path, runs[1:], ledgers)
    assert "for 5,000 clients, who are not there" in alone.text
    assert "asked for in" not in alone.text


def test_untuned_accuracies_stand_in_the_order_of_numbers(tmp_path):
    runs = [sample_run(tmp_path / name, name, accuracy_before=value) for name, value in (("a", 0.1), ("b", 0.09))]
    _, read = page(tmp_path, runs, {})
    assert "Accuracy before 9.00% to 10.00% the untuned base" in read.text


@pytest.mark.parametrize("several", [False, True])
def test_hostile_names_notes_and_values_are_text(tmp_path, several):
    bad = {
        "warnings": (f"warning {HOSTILE[:-1]}",),  # a ledger takes no lone surrogate
        "notes": (f"note {HOSTILE}",),
        "source": HOSTILE,
        "ended": HOSTILE,
        "targets": [HOSTILE],
        "environment": {HOSTILE: HOSTILE},
    }
    runs = []
    for number in range(1 + several):
        name, rows, summary = sample_run(tmp_path / f"run{number}", **bad)
        summary["config"]["data"]["name"] = HOSTILE
        summary["config"][HOSTILE] = {HOSTILE: HOSTILE if number else "other"}
        summary["data"] = HOSTILE
        runs.append((f"{name}{number}{HOSTILE}", rows, summary))
    ledgers = {run[0]: tmp_path / f"run{number}" / "ledger.jsonl" for number, run in enumerate(runs)}
    made, read = page(tmp_path, runs, ledgers, HOSTILE)
    assert not read.wrong
    assert len(read.all("script")) == len(read.all("style")) == len(read.all("title")) - len(
        [a for a in read.all("svg") if "role" in a]
    ) == 1  # fmt: skip
    assert not read.all("img")
    assert not any(key.startswith("on") for _, attributes in read.found for key in attributes)
    assert not re.search("[\x00\u202e]", made)
    assert "<script>document" not in made
    assert 'document.title="owned"' in read.text  # it is there, as words


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"noise_source": "seeded"}, "The noise came from a seed"),
        ({"trust": "none"}, "No noise was added (trust none)"),
    ],
)
def test_a_run_that_is_not_private_says_so_before_any_number_can_be_cited(tmp_path, options, says):
    run = sample_run(tmp_path / "run", **options)
    _, read = page(tmp_path, [run], {"own": tmp_path / "run" / "ledger.jsonl"})
    assert "A fine-tuning run without privacy" in read.text
    assert "This run is not private" in read.text
    assert says in read.text.split("Round by round")[1]
    assert "Guarantee none this run is not private" in read.text
    assert "is right at most" not in read.text


@pytest.mark.parametrize(("noise", "kind"), [(2.0, "good"), (0.1, "bad")])
def test_a_proven_epsilon_that_promises_next_to_nothing_is_no_good_news(tmp_path, noise, kind):
    run = sample_run(tmp_path / "run", noise_multiplier=noise)
    made, read = page(tmp_path, [run], {"own": tmp_path / "run" / "ledger.jsonl"})
    assert f'<dt>Proven</dt><dd class="{kind}">yes</dd>' in made
    words = "Proven yes for the integers that were drawn an epsilon this large promises next to nothing"
    assert (words in read.text) == (kind == "bad")


def test_a_server_that_reads_every_message_has_no_finite_epsilon_and_the_card_says_why(tmp_path):
    run = sample_run(tmp_path / "run", trust="central", backend="plaintext")
    _, read = page(tmp_path, [run], {"own": tmp_path / "run" / "ledger.jsonl"})
    assert "one server summed what clients sent, and read it" in read.text
    assert read.text.count("No bound holds here.") == 2
    assert "The server adds the noise itself and sees what clients send without any" in read.text


def test_vanished_clients_are_a_figure(tmp_path):
    run = sample_run(tmp_path / "run", survivors=9)
    _, read = page(tmp_path, [run], {"own": tmp_path / "run" / "ledger.jsonl"})
    assert "Clients in the sum by round" in read.text
    assert "a sum of fewer than 9 is not opened" in read.text


def test_a_broken_ledger_stands_above_the_numbers_it_does_not_bear_out(folders, tmp_path):
    _, run = folders["own@1"]
    (tmp_path / "ledger.jsonl").write_bytes(b"{}\n")
    _, read = page(tmp_path, [run], {"own@1": tmp_path / "ledger.jsonl"})
    assert "The ledger does not bear out these numbers" in read.text
    assert "✗ fault" in read.text
    assert "Guarantee none the ledger does not bear out these numbers" in read.text
    assert "Proven yes" not in read.text
    assert "each record protected" not in read.text
    assert str(tmp_path) not in read.text


def test_an_arm_with_a_broken_ledger_is_not_called_proven(folders, tmp_path):
    ledgers = {name: folder / "ledger.jsonl" for name, (folder, _) in folders.items()}
    (tmp_path / "ledger.jsonl").write_bytes(b"{}\n")
    runs = [run for _, run in folders.values()]
    _, read = page(tmp_path, runs, ledgers | {"own@2": tmp_path / "ledger.jsonl"})
    assert "Best with a proven epsilon 89.00%" not in read.text
    assert "Epsilons proven 2 of 4" in read.text


def test_the_command_to_verify_a_ledger_names_the_folder_but_no_place_on_the_machine(folders, tmp_path, monkeypatch):
    folder, run = folders["own@1"]
    _, read = page(tmp_path, [run], {"own@1": folder / "ledger.jsonl"})
    assert "sotto ledger own@1 in the folder that holds the run’s" in read.text
    monkeypatch.chdir(folder.parent.parent)
    near = folder.parent.relative_to(folder.parent.parent) / folder.name
    _, read = page(tmp_path, [run], {"own@1": near / "ledger.jsonl"})
    assert f"to verify it again sotto ledger {near} " in read.text


def test_numbers_from_a_runs_json_are_said_to_be_not_verified(folders, tmp_path):
    facts = [
        {"name": name, "summary": run[2], "accuracy": [[r["round"], r["accuracy"]] for r in run[1]]}
        for name, (_, run) in folders.items()
    ]
    stored = tmp_path / "runs.json"
    stored.write_text(json.dumps(facts))
    assert ledgers_of([stored]) == {}
    _, read = page(tmp_path, load_runs([stored]), ledgers_of([stored]))
    assert "5 runs come from a report’s runs.json, which holds no ledger, and were not verified" in read.text
    assert "Ledgers intact not here" in read.text
    _, one = page(tmp_path, load_runs([stored])[:1], {})
    assert "Not verified: these numbers come from a report's runs.json" in one.text
    assert "– not here" in one.text
    assert "verified now" not in one.text
    assert "verified when this page was made" not in one.text


def test_a_summary_that_lacks_what_the_page_is_about_is_a_sentence(folders, tmp_path):
    name, _, summary = folders["own@1"][1]
    folder = tmp_path / name
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({k: v for k, v in summary.items() if k != "rounds_done"}))
    with pytest.raises(SottoError, match="is no summary that a run wrote: rounds_done is missing"):
        load_runs([folder])


def test_summaries_of_earlier_versions_have_a_page_too(folders, tmp_path):
    name, rows, summary = folders["own@1"][1]
    gone = ("environment", "ring_bits", "idealised_release_epsilon", "scores_before", "scores_after", "targets")
    old = {key: value for key, value in summary.items() if key not in gone}
    old["config"] = {key: value for key, value in summary["config"].items() if key not in ("noise", "flower")}
    _, read = page(tmp_path, [(name, rows, old)], {})
    assert "not in these summaries, which an earlier Sotto wrote" in read.text
