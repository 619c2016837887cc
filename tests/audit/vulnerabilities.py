"""Known vulnerabilities of the pinned packages, as pip-audit's service knows them, and whether it could be asked.

Takes requirements and the pip-audit to run; gives a verdict. pip-audit ends with "No known vulnerabilities found" and 0
also when it could look up nothing. So a package with a published vulnerability is asked about first: while that is not
reported, nothing is known about any package, and that is the verdict.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CANARY", "Verdict", "ask", "judge"]

CANARY = "requests==2.19.1"  # CVE-2018-18074, published in 2018; it is only named, never installed


@dataclass(frozen=True)
class Verdict:
    """What an audit found.

    Attributes:
        asked: whether the service answers at all.
        reason: why it does not, if so.
        vulnerable: `name version: ids` of each package with known vulnerabilities.
        unknown: packages that the service knows nothing about.
        clean: number of packages that it knows and has nothing against.
    """

    asked: bool
    reason: str = ""
    vulnerable: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    clean: int = 0

    def lines(self) -> list[str]:
        """The verdict for people."""
        if not self.asked:
            return [
                f"vulnerabilities: NOT CHECKED, because the service could not be asked ({self.reason})",
                "  nothing is known about any package; run this again where it can be reached",
            ]
        told = [f"vulnerabilities: {len(self.vulnerable)} packages have some, {self.clean} have none that is known"]
        told += [f"  {line}" for line in self.vulnerable]
        if self.unknown:
            told.append(f"  NOT CHECKED, because the service does not know them: {', '.join(self.unknown)}")
        return told

    @property
    def passed(self) -> bool:
        """Whether every package was checked and none is known to be vulnerable."""
        return self.asked and not self.vulnerable and not self.unknown


def judge(canary: str, report: str) -> Verdict:
    """The verdict from pip-audit's JSON about the canary and about the packages; either may be an error's text."""
    known = _dependencies(canary)
    if known is None or not any(entry.get("vulns") for entry in known):
        skipped = [str(entry["skip_reason"]) for entry in known or [] if "skip_reason" in entry]
        return Verdict(False, skipped[0] if skipped else _last_line(canary))
    found = _dependencies(report)
    if found is None:
        return Verdict(False, _last_line(report))
    vulnerable = tuple(
        f"{entry['name']} {entry['version']}: {', '.join(vuln['id'] for vuln in entry['vulns'])}"
        for entry in found
        if entry.get("vulns")
    )
    unknown = tuple(str(entry["name"]) for entry in found if "skip_reason" in entry)
    return Verdict(True, "", vulnerable, unknown, len(found) - len(vulnerable) - len(unknown))


def ask(pip_audit: Path, requirements: str) -> str:
    """pip-audit's JSON about requirements of the form `name==version`, or what it said instead."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text(requirements)
        command = [pip_audit, "-r", listed, "--no-deps", "--disable-pip", "--progress-spinner", "off", "-f", "json"]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    return ended.stdout if ended.stdout.strip() else ended.stderr


def _dependencies(report: str) -> list[dict] | None:
    try:
        return json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return None


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no answer"])[-1][:300]
