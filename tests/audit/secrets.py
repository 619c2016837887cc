"""Secrets that must not be in the repository: private keys, tokens of known forms, passwords written out.

Takes text; gives what was found and in which line, never the secret itself. A pattern asks for a whole secret, not for
its heading, so that tests may name what they refuse.
"""

from __future__ import annotations

import math
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Finding", "findings", "history", "scan_files", "scan_history", "tracked"]

_KNOWN = {
    "a private key": r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:\\n|\s)+(?:[A-Za-z0-9+/=:,. -]|\\n|\s){64,}",
    "an AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{60,})\b",
    "a GitLab token": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}\b",
    "a PyPI token": r"\bpypi-AgE[A-Za-z0-9_-]{50,}",
    "a Slack token": r"\bxox[abposr]-[A-Za-z0-9-]{20,}",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "an OpenAI or Anthropic key": r"\bsk-(?:ant-|proj-)?[A-Za-z0-9_-]{32,}",
    "a Stripe key": r"\b[rs]k_live_[A-Za-z0-9]{20,}\b",
    "a signed web token": r"\beyJ[A-Za-z0-9_-]{16,}\.eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    "a password in an address": r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'<>{}]+:[^\s/:@\"'<>{}]{3,}@[A-Za-z0-9]",
}
_WRITTEN_OUT = re.compile(
    r"(?i)\b[a-z0-9_.-]*(?:passw(?:or)?d|passphrase|secret|token|api_?key|access_?key|private_?key|auth)\b"
    r"[\"']?\s*[:=]\s*[\"']([A-Za-z0-9+/=_.~-]{16,})[\"']"
)
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in _KNOWN.items()}
_RANDOM = 3.5  # bits a character; hexadecimal digits have at most 4


@dataclass(frozen=True)
class Finding:
    """Where a secret is and of what kind it is; not the secret."""

    place: str
    line: int
    kind: str


def findings(text: str, place: str) -> Iterator[Finding]:
    """Every secret in a text; `place` names it."""
    for kind, pattern in _PATTERNS.items():
        for match in pattern.finditer(text):
            yield Finding(place, text.count("\n", 0, match.start()) + 1, kind)
    for match in _WRITTEN_OUT.finditer(text):
        # Words are small letters; as many random letters and digits are hardly ever.
        words = re.fullmatch(r"[a-z\W_]+", match[1])
        if _entropy(match[1]) > _RANDOM and not words:
            yield Finding(place, text.count("\n", 0, match.start()) + 1, "a random value under a secret's name")


def tracked(root: Path) -> list[Path]:
    """The files that git tracks."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    return [root / name for name in listed.decode().split("\0") if name]


def scan_files(root: Path) -> list[Finding]:
    """Secrets in the tracked files as they are now."""
    found: list[Finding] = []
    for path in tracked(root):
        if path.is_file():
            found += findings(path.read_bytes().decode("utf-8", "replace"), str(path.relative_to(root)))
    return found


def history(root: Path) -> str:
    """Every line that a commit of any branch ever added or removed."""
    command = ["git", "log", "--all", "-p", "--no-color", "--no-ext-diff", "--unified=0", "--format=commit %h"]
    shown = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode("utf-8", "replace")
    return "\n".join(line[1:] if line[:1] in "+-" else line for line in shown.splitlines())


def scan_history(root: Path) -> list[Finding]:
    """Secrets that some commit added, also if a later one took them away; lines are those of the listing."""
    return list(findings(history(root), "git history"))


def _entropy(text: str) -> float:
    """Shannon entropy of the characters, in bits."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
