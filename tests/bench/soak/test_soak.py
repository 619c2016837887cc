"""The soak finds planted leaks and a wrong sum, finds none in the product, and judges by its limits alone."""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import subprocess
import sys

import pytest

import bench.soak.__main__ as soak
from bench.processes import children_of
from bench.soak.checks import faults_of, openings_of_journal, outcomes
from bench.soak.figure import curves_of, draw
from bench.soak.load import known_sum
from bench.soak.page import soak_page
from bench.soak.probe import ask_objects, site_folder
from bench.soak.rounds import goes_on
from bench.soak.samples import Sample, sample_of
from bench.soak.verdict import Limits, assess
from tests.bench.processes import found_in


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the soak says of each planted fault, and of the product as it is."""
    return found_in("tests.bench.soak.plants", tmp_path_factory.mktemp("soak"))


def test_a_run_of_the_product_as_it_is_stays_flat(found):
    assert found["clean"]["problems"] == []
    assert found["clean"]["openings"] == found["clean"]["rounds_asked"]
    assert found["clean"]["files"]["bytes_a_round"]["ledger.jsonl"] > 0


@pytest.mark.parametrize(
    ("plant", "says"),
    [("descriptor", "run: descriptors grew from"), ("memory", "run: uss grow by")],
)
def test_a_planted_leak_is_found_and_no_other(found, plant, says):
    assert [problem[: len(says)] for problem in found[plant]["problems"]] == [says]


@pytest.mark.parametrize(
    ("counts", "grows"),
    [
        ([6] * 20, False),
        ([*[6] * 19, 9], False),  # what the end of a run writes, or a draft that was just being written
        ([4, 5, 6, 7, 7, 6, 6, 6], False),
        (list(range(20)), True),
        ([*[6] * 12, *[7] * 8], True),
        ([6], False),
    ],
)
def test_files_go_on_to_grow_if_there_are_more_late_than_ever_early(counts, grows):
    assert goes_on(counts) is grows


def test_clients_and_links_that_fail_break_nothing(found):
    row = found["clients"]
    assert row["problems"] == []
    assert row["opened"] > 0
    assert sum(row["harm"].values()) > 0
    assert row["clients_in_a_sum"]["least"] >= 3


def test_a_sum_that_is_wrong_by_one_is_found(found):
    assert any("the opened sum is not that of its" in problem for problem in found["wrong sum"]["problems"])


def series(count=120, **changes):
    """Samples of a flat process, but for what `changes` says: a function of the round."""
    flat = {"rss": 2e8, "pss": 1.5e8, "uss": 1e8, "descriptors": 7, "threads": 3, "children": 0, "objects": 50_000}
    noise = random.Random(1)
    return [
        Sample(
            "run",
            1,
            float(number),
            5 * number,
            **{
                name: int(
                    changes[name](5 * number) if name in changes else value + (name == "uss") * noise.gauss(0, 4096)
                )
                for name, value in flat.items()
            },
            cpu_s=changes["cpu_s"](5 * number) if "cpu_s" in changes else 0.05 * number,
        )
        for number in range(count)
    ]


def test_a_flat_series_is_flat():
    assert assess(series(), Limits())["problems"] == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"uss": lambda n: 1e8 + 1500 * n}, "uss grow by 1500.0 bytes a round"),
        ({"objects": lambda n: 5e4 + 20 * n}, "objects grow by 20.0 objects a round"),
        ({"descriptors": lambda n: 7 + n // 250}, "descriptors grew from 7 to 9; allowed: none"),
        ({"threads": lambda n: 3 + n // 200}, "threads grew"),
        ({"cpu_s": lambda n: 0.01 * n + 1e-5 * n * n}, "processor time a round grew by"),
    ],
)
def test_growth_above_a_limit_is_named(changes, says):
    (problem,) = assess(series(**changes), Limits())["problems"]
    assert says in problem


@pytest.mark.parametrize(
    "changes",
    [
        {"uss": lambda n: 1e8 + 900 * n},
        {"uss": lambda n: 1e8 + 1e7 * min(n, 200) / 200},  # warm-up
        {"uss": lambda n: 1e8 - 5000 * n},
        {"descriptors": lambda n: 7 + 5 * (n % 10 == 0)},  # open for a moment
        {"descriptors": lambda n: 9 - (n > 100)},
    ],
)
def test_warming_up_shrinking_and_a_moment_are_no_growth(changes):
    assert assess(series(**changes), Limits())["problems"] == []


def test_too_few_samples_are_no_verdict():
    assert "too few to judge by" in assess(series(10), Limits())["problems"][0]


def test_quiet_stretches_decide_on_descriptors_where_there_are_any():
    samples = series(descriptors=lambda n: 7 + n // 250)
    assert assess(samples, Limits(), quiet=(samples[:5], samples[5:10]))["problems"] == []
    assert "no quiet stretch" in assess(samples, Limits(), quiet=([], samples))["problems"][0]


def line(kind, number, attempt=0, clients=(0, 1, 2), wrong=0):
    facts = {"kind": kind, "round": number, "attempt": attempt, "clients": list(clients), "seconds": 0.1, "left_out": 0}
    total = known_sum(clients, number, attempt, 8) + wrong
    return facts | {"sum": hashlib.sha256(total.tobytes()).hexdigest()}


def faults(lines, journal=None, longest=5.0):
    opened = [one for one in lines if one["kind"] == "opened"]
    return faults_of(lines, [opened if journal is None else journal], 8, 3, longest)


def test_rounds_as_they_should_be_have_no_faults():
    assert faults([line("entry", 1), line("opened", 1), line("entry", 2, 1), line("opened", 2, 1)]) == []


def test_what_must_hold_of_openings_is_found_where_it_does_not():
    good = [line("entry", 1), line("opened", 1)]
    assert "is not that of its 3 clients" in faults([line("entry", 1), line("opened", 1, wrong=1)])[0]
    assert "opened 2 times" in faults([*good, line("opened", 1)])[0]
    assert "opened 2 times" in faults(good, [line("opened", 1), line("opened", 1)])[0]
    below = [line("entry", 1, clients=(0, 1)), line("opened", 1, clients=(0, 1))]
    assert "opened over 2 clients" in faults(below)[0]
    assert "not those that were written down before" in faults([line("entry", 1, clients=(0, 1, 3)), good[1]])[0]
    assert "not in its journal" in faults(good, [])[0]
    assert "other clients than were agreed" in faults(good, [*good[1:], line("opened", 2)])[0]
    assert "took longer than 0.05 s" in faults(good, longest=0.05)[0]


def test_outcomes_count_sentences_by_kind_and_not_by_number():
    lines = [
        *(line("refused", number) | {"sentence": f"round {number}: 2 clients are left"} for number in (1, 2)),
        line("opened", 3, 1),
        line("failed", 3) | {"sentence": "party 2 of 3 ended"},
    ]
    found = outcomes(lines)
    assert found["refused_sentences"] == {"round N: N clients are left": 2}
    assert (found["rounds"], found["opened"], found["attempts_failed"]) == (3, 1, 1)
    assert found["opened_in_a_later_attempt"] == 1


def test_a_journal_is_read_as_openings_alone(tmp_path):
    opened = {"kind": "opened", "run": "r", "round": 1, "attempt": 2, "model": "", "clients": [[0, 2], [5, 6]]}
    path = tmp_path / "journal"
    path.write_text(json.dumps(opened) + "\n" + json.dumps({"kind": "refused", "reason": "no"}) + "\n")
    assert openings_of_journal(path) == [{"round": 1, "attempt": 2, "clients": [0, 1, 5]}]


def test_a_process_is_seen_and_says_how_many_objects_it_holds(tmp_path):
    environment = {**os.environ, **site_folder(tmp_path)}
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        sample = sample_of("child", child.pid, 1.0, 0)
        assert child.pid in children_of(os.getpid())
        assert (sample.descriptors, sample.threads, sample.children) == (3, 1, 0)
        assert 0 < sample.uss <= sample.pss <= sample.rss
        assert ask_objects(child.pid, tmp_path, 20.0) > 1000
        child.stdin.close()
    assert sample_of("child", child.pid, 1.0, 0) is None


def test_a_process_that_would_die_of_the_question_is_not_asked(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as other:
        assert ask_objects(other.pid, tmp_path, 0.1) is None
        assert other.poll() is None
        other.kill()


def test_the_page_shows_limits_figures_and_what_did_not_hold(tmp_path):
    figures = assess(series(), Limits())
    figures.pop("problems")
    grown = dict.fromkeys(("ledger.jsonl", "metrics.jsonl", "tensorboard", "checkpoints", "all"), 1.5)
    row = {
        "command": "python -m bench.soak --out DIR --kinds rounds",
        "rounds_asked": 600,
        "rounds_watched": 595,
        "seconds": 10.0,
        "openings": 590,
        "refused": 5,
        "sentences": ["round N: too few"],
        "files": {"bytes_a_round": grown, "files": 6, "bytes": 100},
        "processes": {"run": figures},
        "problems": ["run: something grew"],
        "curves": curves_of(series()),
    }
    page = soak_page({"environment": ["here"], "rows": {"rounds": row}})
    assert "| run | 120 |" in page
    assert "* run: something grew" in page
    assert "595 of 600 rounds" in page
    draw({"rounds": row}, tmp_path / "soak.png")
    assert (tmp_path / "soak.png").stat().st_size > 1000
    assert all(len(curve["seconds"]) <= 241 for curve in row["curves"].values())


@pytest.mark.parametrize("wrong", [["--rounds", "3"], ["--minutes", "0.5"], ["--minutes", "nan"], ["--kinds", "x"]])
def test_bad_arguments_end_with_code_2(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        soak.main(["--out", str(tmp_path), *wrong])
    assert ended.value.code == 2
    assert "allowed" in capsys.readouterr().err or wrong[0] == "--kinds"


def test_limits_are_what_the_page_says_is_flat():
    assert all(limits.bytes_a_round < math.inf for limits in soak.LIMITS.values())
    assert soak.LIMITS["rounds-smpc"].bytes_a_round == 1024
