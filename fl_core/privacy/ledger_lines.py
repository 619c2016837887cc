"""The lines that a ledger's entries are written as, each of which carries the hash of the one before.

Takes entries and gives bytes, and back; touches no file. A line is canonical JSON (sorted keys, no spaces, ASCII) with
`seq`, `kind`, `body`, `prev` (the hash of the line before) and `hash` (SHA-256 of the line's JSON without it). Only the
canonical bytes of a line are ever accepted back, so any changed byte shows.
"""

import hashlib
import json
from dataclasses import asdict, fields
from typing import Any, Final, TypeVar

from fl_core.privacy.ledger_entries import LedgerError, LedgerHeader, Opening
from fl_core.privacy.ledger_formats import as_now

__all__ = ["GENESIS", "encode_line", "parse_line"]

GENESIS: Final = "0" * 64

_KINDS: Final[dict[type, str]] = {LedgerHeader: "header", Opening: "opening"}
_Entry = TypeVar("_Entry", LedgerHeader, Opening)


def encode_line(seq: int, entry: LedgerHeader | Opening, prev: str) -> tuple[bytes, str]:
    """The whole line, newline included, and its hash."""
    record: dict[str, Any] = {"body": asdict(entry), "kind": _KINDS[type(entry)], "prev": prev, "seq": seq}
    digest = hashlib.sha256(_canonical(record)).hexdigest()
    return _canonical({**record, "hash": digest}) + b"\n", digest


def parse_line(line: bytes, seq: int, prev: str, kind: type[_Entry]) -> tuple[_Entry, str]:
    """The entry of one line (without its newline) and its hash.

    Raises:
        LedgerError: saying what is wrong, as the end of a sentence that names the line.
    """
    try:
        record = json.loads(line.decode("ascii"))
    except (ValueError, RecursionError):
        raise LedgerError("is not a whole line of JSON") from None
    if not isinstance(record, dict) or set(record) != {"body", "hash", "kind", "prev", "seq"}:
        raise LedgerError("is not a ledger line")
    try:
        whole = _canonical(record)
    except ValueError:
        raise LedgerError("was changed: it has a number that is not finite") from None
    digest = record.pop("hash")
    if hashlib.sha256(_canonical(record)).hexdigest() != digest:
        raise LedgerError("was changed: its content does not match its hash")
    if whole != line:
        raise LedgerError("was changed: its bytes are not those that were written")
    if record["prev"] != prev or record["seq"] != seq:
        raise LedgerError("does not follow the line before it: lines were removed, added or reordered")
    body = record["body"]
    if kind is LedgerHeader and isinstance(body, dict):
        body = as_now(body)
    if record["kind"] != _KINDS[kind] or not isinstance(body, dict) or set(body) != {f.name for f in fields(kind)}:
        raise LedgerError(f"is not the {_KINDS[kind]} that belongs there")
    try:
        return kind(**body), digest
    except (LedgerError, TypeError) as error:
        raise LedgerError(f"has a value that is not allowed: {str(error).rstrip('.')}") from None


def _canonical(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")
