"""Public text for pre-training: plain files, JSON lines and hub data sets, as a stream of documents.

Takes sources named in a recipe; gives their documents, divided once and for all into training and held-out ones by
each document's own digest, so that no later change of order or of other documents moves one between them. It must
never be given private records: what is read here costs no privacy because it is public.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.datasets.data_root import data_root
from experiments.datasets.errors import DatasetCorrupt, DatasetMissing
from experiments.datasets.hub import hub_obstacle
from fl_core.first_line import first_line

__all__ = ["TextSource", "held_out", "read_documents"]

_HUB = "hub:"
_LONGEST_LINE = 2**24  # characters: a small packed file may hold a line that no memory does


@dataclass(frozen=True)
class TextSource:
    """One source of documents.

    Attributes:
        path: a `.txt` file (one document), a `.jsonl` or `.jsonl.gz` file (one JSON object a line), a folder of such
            files, or `hub:OWNER/NAME[:SPLIT]`. A relative path is looked for in the working folder, then in the data
            folder (`SOTTO_DATA`).
        field: key of the text in each JSON object, or column of the hub's data set.
        repeat: how often its documents are seen per pass over all text.
    """

    path: str = ""
    field: str = "text"
    repeat: int = 1


def read_documents(source: TextSource) -> Iterator[str]:
    """The documents of a source, in order.

    Raises:
        DatasetMissing: if it is neither on disk nor on a reachable hub.
        DatasetCorrupt: if a file is there but cannot be decoded, naming file and line.
    """
    if source.path.startswith(_HUB):
        yield from _from_hub(source)
        return
    for path in _files(source.path):
        if path.suffix == ".txt":
            yield _plain(path)
        else:
            yield from _json_lines(path, source.field)


def held_out(document: str, percent: float) -> bool:
    """Whether a document belongs to the `percent` of all that are kept for the test perplexity."""
    drawn = int.from_bytes(hashlib.sha256(document.encode("utf-8", "surrogatepass")).digest()[:8], "big")
    return drawn < percent / 100 * 2**64


def _files(name: str) -> list[Path]:
    given = Path(name).expanduser()
    places = [given] if given.is_absolute() else [given, data_root()[0] / given]
    for place in places:
        if place.is_dir():
            found = sorted(path for path in place.iterdir() if path.name.endswith((".txt", ".jsonl", ".jsonl.gz")))
            if found:
                return found
            raise DatasetMissing(f"text source {name}: {place} holds no .txt, .jsonl or .jsonl.gz file")
        if place.is_file():
            if not place.name.endswith((".txt", ".jsonl", ".jsonl.gz")):
                raise DatasetMissing(f"text source {name}: allowed are .txt, .jsonl, .jsonl.gz, a folder of them, hub:")
            return [place]
    raise DatasetMissing(
        f"text source {name} is not there (looked for {' and '.join(str(place) for place in places)}); give a file, "
        f"set SOTTO_DATA to the folder that holds it, or name a hub data set as hub:OWNER/NAME"
    )


def _plain(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetCorrupt(f"text source {path} cannot be read as UTF-8 text: {error}") from None


def _json_lines(path: Path, field: str) -> Iterator[str]:
    read = 0  # whole lines so far
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            while line := lines.readline(_LONGEST_LINE + 1):
                if len(line) > _LONGEST_LINE:
                    raise DatasetCorrupt(
                        f"text source {path}, line {read + 1} is longer than {_LONGEST_LINE} characters; divide it"
                    )
                read += 1
                yield _text_in(line, field, f"text source {path}, line {read}")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DatasetCorrupt(f"text source {path} is damaged after line {read}: {error}") from None


def _text_in(line: str, field: str, where: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DatasetCorrupt(f"{where} is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DatasetCorrupt(f"{where} is no JSON object")
    if field not in row:
        raise DatasetCorrupt(f"{where}: no key {field!r}")
    return _checked(row[field], field, where)


def _checked(text: object, field: str, where: str) -> str:
    """`text`, if it is a string that UTF-8 can write: tokenizers take nothing else."""
    if not isinstance(text, str):
        raise DatasetCorrupt(f"{where}: {field!r} is no string")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise DatasetCorrupt(f"{where}: {field!r} holds half a surrogate pair, which is no character")
    return text


def _from_hub(source: TextSource) -> Iterator[str]:
    name, _, split = source.path.removeprefix(_HUB).partition(":")
    obstacle = hub_obstacle()
    if obstacle is not None:
        raise DatasetMissing(f"text source {source.path}: the hub cannot be used: {obstacle}")
    import datasets

    try:
        table: Iterable[dict[str, Any]] = datasets.load_dataset(name, split=split or "train")
        column: Sequence[object] = [row[source.field] for row in table]
    except Exception as error:  # the hub client's errors share no base class; all mean "not from there"
        cause = first_line(error)
        raise DatasetMissing(f"text source {source.path}: {type(error).__name__}: {cause}") from None
    for number, text in enumerate(column, 1):
        yield _checked(text, source.field, f"text source {source.path}, row {number}")
