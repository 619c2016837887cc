"""Ledgers of earlier formats are read and continued as what they could have said, and mixtures refused."""

import hashlib
import json
from dataclasses import replace

import pytest

from fl_core.privacy.ledger import Ledger, LedgerError, read_ledger
from tests.fl_core.privacy.ledgers import HEADER, filled, opening

ADDED = {1: ("noise_by", "noise_dropout", "aggregators", "aggregator_sigma", "components"), 2: ("data", "contribution")}


def old_format(content, version):
    """The same ledger as an earlier format had it, its chain made anew."""
    prev, lines = "0" * 64, []
    for line in content.splitlines():
        record = json.loads(line)
        if record["kind"] == "header":
            for key in (key for before, keys in ADDED.items() if before >= version for key in keys):
                del record["body"][key]
            record["body"]["version"] = version
        record["prev"] = prev
        del record["hash"]
        canonical = {"sort_keys": True, "separators": (",", ":")}
        prev = record["hash"] = hashlib.sha256(json.dumps(record, **canonical).encode()).hexdigest()
        lines.append(json.dumps(record, **canonical).encode() + b"\n")
    return b"".join(lines)


def test_a_ledger_of_format_1_is_read_and_continued_as_noise_by_clients(tmp_path):
    path = tmp_path / "ledger.jsonl"
    content, _ = filled(path)
    path.write_bytes(old_format(content, 1))
    with Ledger.resume(path) as ledger:
        assert ledger.header == HEADER
        ledger.append(opening(4))
    found = read_ledger(path)
    assert (found.header, len(found.openings)) == (HEADER, 5)


def test_a_ledger_of_format_2_is_read_and_continued_as_one_that_does_not_know_its_data(tmp_path):
    path = tmp_path / "ledger.jsonl"
    header = replace(HEADER, noise_by="aggregators", aggregators=3, aggregator_sigma=2.0**20)
    Ledger.create(path, replace(header, data="mnist", contribution="an image")).close()
    path.write_bytes(old_format(path.read_bytes(), 2))
    with Ledger.resume(path) as ledger:
        assert ledger.header == header
        assert (ledger.header.data, ledger.header.contribution) == ("", "")
        ledger.append(replace(opening(0), sigma_steps=0.0, noise_multiplier=1.0))
    assert read_ledger(path).head.lines == 2


@pytest.mark.parametrize(("version", "keys"), [(1, ADDED[2]), (1, ()), (2, ()), (2, ("data",)), (0, ()), (4, ())])
def test_a_header_that_mixes_formats_is_refused(tmp_path, version, keys):
    """`keys` of the header are missing, which a header of that version lacks all or none of."""
    path = tmp_path / "ledger.jsonl"
    filled(path)
    record = json.loads(path.read_bytes().splitlines()[0])
    del record["hash"]
    for key in keys:
        del record["body"][key]
    record["body"]["version"] = version
    canonical = {"sort_keys": True, "separators": (",", ":")}
    record["hash"] = hashlib.sha256(json.dumps(record, **canonical).encode()).hexdigest()
    path.write_bytes(json.dumps(record, **canonical).encode() + b"\n")
    says = "is not the header that belongs there" if keys else f"format version must be 3, not {version}"
    with pytest.raises(LedgerError, match=says):
        read_ledger(path)
