"""An aggregator's node writes one file a message into its party's spool, and touches nothing else."""

from __future__ import annotations

import pytest

from fl_core.engines.flower.aggregator import AggregatorNode, AggregatorSettings
from fl_core.engines.flower.exchange import HELLO, RELAY, TRAIN
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.terms import Policy
from secagg.party.spool import SpoolError


@pytest.fixture(scope="module")
def parties(tmp_path_factory):
    folder = tmp_path_factory.mktemp("deployment")
    create_deployment(folder, [("127.0.0.1", 7000 + rank) for rank in range(3)], Policy())
    return folder / "parties.yaml"


def facts(**changes):
    return {"name": "flower-r-1-0-ab.1", "lengths": [2, 3], "parts": b"abcde", **changes}


def test_parts_are_written_and_files_of_earlier_rounds_removed(parties, tmp_path):
    node = AggregatorNode(AggregatorSettings(parties, 1, tmp_path))
    others = [tmp_path / name for name in ("upload.1", "flower-r-1-0-ab.0", "flower-notes.txt")]
    for other in others:
        other.write_bytes(b"not ours")
    assert node.answer(HELLO, {})["rank"] == 1
    assert node.answer(RELAY, facts()) == {"taken": 2}
    assert node.answer(RELAY, facts(name="flower-r-2-0-cd.1")) == {"taken": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["flower-r-2-0-cd.1", *(other.name for other in others)]
    )
    assert (tmp_path / "flower-r-2-0-cd.1").read_bytes() == b"abcde"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "../flower-x.1"},
        {"name": "flower-/../x.1"},
        {"name": "flower-x.2"},
        {"name": "x.1"},
        {"name": 3},
        {"lengths": [2, 2]},
        {"lengths": [-1, 6]},
        {"lengths": [2.0, 3]},
        {"lengths": None},
        {"parts": "abcde"},
    ],
)
def test_any_other_place_is_refused_and_nothing_is_written(parties, tmp_path, changes):
    node = AggregatorNode(AggregatorSettings(parties, 1, tmp_path))
    assert list(node.answer(RELAY, facts(**changes))) == ["refused"]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_gone_is_a_refusal_and_no_error(parties, tmp_path):
    (tmp_path / "spool").mkdir()
    node = AggregatorNode(AggregatorSettings(parties, 1, tmp_path / "spool"))
    (tmp_path / "spool").rmdir()
    assert "could not be written" in node.answer(RELAY, facts())["refused"]
    assert "does not answer" in node.answer(TRAIN, {})["refused"]


def test_a_rank_or_a_spool_that_is_none_is_refused_at_start(parties, tmp_path):
    with pytest.raises(SpoolError, match="rank is 3"):
        AggregatorNode(AggregatorSettings(parties, 3, tmp_path))
    with pytest.raises(SpoolError, match="is no folder"):
        AggregatorNode(AggregatorSettings(parties, 1, tmp_path / "none"))
