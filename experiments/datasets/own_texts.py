"""Texts of one's own: a CSV, TSV or JSON-lines file with a column of users and one of texts, read and checked.

Takes a file as it comes out of a database or a spreadsheet; gives pairs of user and text in the file's order, and how
many rows were left out and why. It must never guess an encoding or a column, and never change a text.
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from secagg.errors import SottoError

__all__ = ["OwnTexts", "read_texts"]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_ALLOWED = ".csv, .tsv or .jsonl, each also as .gz"
_LONGEST = 2**24  # characters of a line or a field; a quotation mark that is never closed makes longer ones
_PROGRESS_EVERY = 50_000  # rows


@dataclass(frozen=True)
class OwnTexts:
    """What a file holds.

    Attributes:
        rows: user and text, in the file's order.
        without_user: rows left out because nobody owns them.
        without_word: rows left out because their text has no letter, so no word to learn.
    """

    rows: list[tuple[str, str]]
    without_user: int
    without_word: int


def read_texts(
    path: Path,
    user_column: str = "user",
    text_column: str = "text",
    encoding: str = "utf-8",
    delimiter: str | None = None,
    on_progress: Callable[[str], None] = lambda _: None,
) -> OwnTexts:
    """Read a file of texts by users.

    Args:
        path: `.csv`, `.tsv` or `.jsonl`, each also as `.gz`. Tables have a first line with the columns' names.
        user_column: names the owner of a row; a JSON number is taken as its digits.
        text_column: holds the text.
        encoding: as Python calls it; a byte order mark of UTF-8 is skipped.
        delimiter: between the fields of a table; default by the ending.
        on_progress: told now and then how many rows were read.

    Raises:
        SottoError: one sentence with the line, for whatever cannot be read as such a file.
    """
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending not in (*_DELIMITERS, ".jsonl"):
        raise SottoError(f"{path} {f'ends in {ending}' if ending else 'has no ending'}; allowed: {_ALLOWED}")
    if not path.is_file():
        raise SottoError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; allowed: a file of texts by users")
    if user_column == text_column:
        raise SottoError(f"--user-column and --text-column are both {user_column!r}; allowed: two columns")
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '\r\n"'):
        raise SottoError(f"--delimiter is {delimiter!r}; allowed: one character, such as ; or |")
    codec = _codec(path, encoding)
    rows: list[tuple[str, str]] = []
    without_user = without_word = 0
    with _read_errors(path, codec), _open(path, codec) as handle:
        if ending == ".jsonl":
            found = _objects(path, handle, user_column, text_column)
        else:
            found = _table(path, handle, user_column, text_column, delimiter or _DELIMITERS[ending])
        for number, (user, text) in enumerate(found, 1):
            if not user.strip():
                without_user += 1
            elif not any(map(str.isalpha, text)):
                without_word += 1
            else:
                rows.append((user, text))
            if number % _PROGRESS_EVERY == 0:
                on_progress(f"reading {path.name}: {number:,} rows")
    return OwnTexts(rows, without_user, without_word)


def _codec(path: Path, encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError:
        raise SottoError(f"--encoding is {encoding!r}; allowed: utf-8, utf-16, cp1252, latin-1, and so on") from None
    if encoding.lower().replace("_", "-") not in ("utf-8", "utf8"):
        return encoding
    with _read_errors(path, encoding), _opened(path) as raw:
        if raw.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise SottoError(f"{path} begins with the mark of UTF-16; say --encoding utf-16")
    return "utf-8-sig"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    packed = path.suffix.lower() == ".gz"
    with path.open("rb") as raw:
        yield cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw


@contextlib.contextmanager
def _open(path: Path, codec: str) -> Iterator[IO[str]]:
    with _opened(path) as raw, io.TextIOWrapper(raw, encoding=codec, newline="") as handle:
        yield handle


@contextlib.contextmanager
def _read_errors(path: Path, codec: str) -> Iterator[None]:
    try:
        yield
    except UnicodeError as error:
        where = _undecodable(path, codec)
        named = codec.removesuffix("-sig")
        raise SottoError(
            f"{path}{where}: not {named} ({getattr(error, 'reason', error)}); say the file's encoding, "
            "for example --encoding cp1252"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise SottoError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _undecodable(path: Path, codec: str) -> str:
    """Where the first line is that is not in this encoding, in words; nothing where lines are not ended by one byte."""
    if "\n".encode(codec)[-1:] != b"\n" or len("\n".encode(codec).removeprefix(b"\xef\xbb\xbf")) != 1:
        return ""
    with contextlib.suppress(OSError, EOFError, zlib.error), _opened(path) as raw:
        for number, line in enumerate(raw, 1):
            try:
                line.decode(codec)
            except UnicodeError:
                return f", line {number}"
    return ""


def _lines(path: Path, handle: IO[str]) -> Iterator[str]:
    number = 0
    while line := handle.readline(_LONGEST + 1):
        number += 1
        if len(line) > _LONGEST:
            raise SottoError(f"{path}, line {number}: more than {_LONGEST:,} characters; allowed: one row a line")
        if "\0" in line:
            raise SottoError(f"{path}, line {number}: a zero byte, so this is no text, or in an encoding like utf-16")
        yield line


def _table(path: Path, handle: IO[str], user: str, text: str, delimiter: str) -> Iterator[tuple[str, str]]:
    before = csv.field_size_limit(_LONGEST)
    reader = csv.reader(_lines(path, handle), delimiter=delimiter, strict=True)
    begun = 1  # line in which the row begins that is being read
    try:
        header = next(reader, None)
        if header is None:
            raise SottoError(f"{path} is empty; its first line must name the columns")
        places = [_place(path, header, *asked, delimiter) for asked in (("user", user), ("text", text))]
        begun = reader.line_num + 1
        for row in reader:
            first, begun = begun, reader.line_num + 1
            if not row:  # an empty line
                continue
            if len(row) != len(header):
                raise SottoError(
                    f"{path}, line {first}: {_fields(len(row))}, and the first line names {len(header)}; "
                    "texts that hold the delimiter must stand in quotation marks"
                )
            yield row[places[0]], row[places[1]]
    except csv.Error as error:
        cause = str(error)
        if "limit" in cause or "unexpected end" in cause:
            raise SottoError(f"{path}, line {begun}: a quotation mark is never closed") from None
        raise SottoError(f"{path}, line {reader.line_num}: {cause}{_since(begun, reader.line_num)}") from None
    finally:
        csv.field_size_limit(before)


def _since(begun: int, line: int) -> str:
    """Where a row began that is not of one line: an open quotation mark takes many, and shows at some other mark."""
    return "" if begun == line else f"; the row begins in line {begun}, maybe with a quotation mark that is not closed"


def _fields(count: int) -> str:
    return "one field" if count == 1 else f"{count} fields"


def _place(path: Path, header: list[str], option: str, wanted: str, delimiter: str) -> int:
    if header.count(wanted) > 1:
        raise SottoError(f"{path} has {header.count(wanted)} columns {wanted!r}; allowed: one")
    if wanted in header:
        return header.index(wanted)
    if len(header) == 1:
        other = [mark for mark in ",;\t|" if mark != delimiter and mark in header[0]]
        if other:
            mark = "$'\\t'" if other[0] == "\t" else f"'{other[0]}'"
            raise SottoError(f"{path} has one column, {_shown(header)}; say --delimiter {mark}")
    raise _no_column(f"{path} has no column", header, option, wanted)


def _no_column(what: str, there: Iterable[str], option: str, wanted: str) -> SottoError:
    names = [str(name) for name in there]
    lowered = {name.lower(): name for name in names}
    close = difflib.get_close_matches(wanted.lower(), list(lowered), n=1)
    hint = f"did you mean --{option}-column {lowered[close[0]]}? " if close else f"name it with --{option}-column; "
    return SottoError(f"{what} {wanted!r}; {hint}there are: {_shown(names)}")


def _shown(names: list[str]) -> str:
    """Columns as they are called, each cut: without a first line of names these are somebody's words."""
    some = [name if len(name) <= 24 else f"{name[:24]}…" for name in names[:12]]
    return ", ".join(some) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _objects(path: Path, handle: IO[str], user: str, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_lines(path, handle), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SottoError(f"{where}: not JSON ({error})") from None
        if not isinstance(found, dict):
            raise SottoError(f"{where}: {type(found).__name__} and no object; allowed: one {{...}} a line")
        for option, wanted in (("user", user), ("text", text)):
            if wanted not in found:
                raise _no_column(f"{where} has no key", found, option, wanted)
        yield _word(found[user], where, user, digits=True), _word(found[text], where, text, digits=False)


def _word(value: Any, where: str, key: str, digits: bool) -> str:
    if value is None:
        return ""
    if digits and type(value) is int:
        return str(value)
    if not isinstance(value, str):
        allowed = "a string or a whole number" if digits else "a string"
        raise SottoError(f"{where}: {key!r} is {type(value).__name__}; allowed: {allowed}, or null")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SottoError(f"{where}: {key!r} holds half of a surrogate pair, which is no character") from None
    return value
