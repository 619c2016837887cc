"""Fenced blocks of the documents, and the single commands in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", ROOT / "deploy" / "README.md", *(ROOT / "docs").rglob("*.md"))
)
SHELL = ("", "sh", "bash", "shell", "console")
# Blocks in which nothing is typed.
SHOWN = ("text", "yaml", "toml", "json", "csv", "{toctree}", "{eval-rst}")
_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block, without its indentation."""

    document: str
    line: int
    language: str
    text: str


def blocks(document):
    text = (ROOT / document).read_text()
    found = []
    for match in _FENCE.finditer(text):
        indent, language, body = match.groups()
        body = "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True))
        found.append(Block(document, text[: match.start()].count("\n") + 1, language.strip(), body))
    return found


def python_of(document):
    return [block for block in blocks(document) if block.language == "python"]


def commands_of(document):
    """Every command of the document's shell blocks, in order: (line of the block, command)."""
    return [
        (block.line, command)
        for block in blocks(document)
        if block.language in SHELL
        for command in commands(block.text)
    ]


def commands(text):
    """The commands of a shell block: lines that go on are joined, and what follows a # is not typed."""
    joined = re.sub(r"\\\n\s*", "", text)
    typed = (re.sub(r"(^|\s)#.*$", "", line).strip() for line in joined.splitlines())
    return [" ".join(line.split()) for line in typed if line]
