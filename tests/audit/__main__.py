"""`make audit`: secrets in the repository and its history, known vulnerabilities, and a bill of materials.

Takes the folder of the tools (their own environment, so that they are in no bill of materials); writes
`build/sbom.cdx.json`. Ends with 0 only if everything was checked and nothing was found.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

from tests.audit.secrets import scan_files, scan_history, tracked
from tests.audit.vulnerabilities import CANARY, ask, judge

ROOT = Path(__file__).resolve().parent.parent.parent


def main(tools: Path) -> int:
    """Run all three; returns the exit code."""
    passed = [_secrets(), _vulnerabilities(tools / "pip-audit"), _materials(tools / "cyclonedx-py")]
    print("audit: passed" if all(passed) else "audit: NOT passed")
    return 0 if all(passed) else 1


def _secrets() -> bool:
    found = [*scan_files(ROOT), *scan_history(ROOT)]
    print(f"secrets: {len(found)} in {len(tracked(ROOT)):,} tracked files and the history of all branches")
    for finding in found:
        print(f"  {finding.place}, line {finding.line}: {finding.kind}")
    return not found


def _vulnerabilities(pip_audit: Path) -> bool:
    verdict = judge(ask(pip_audit, CANARY), ask(pip_audit, "\n".join(requirements())))
    print("\n".join(verdict.lines()))
    return verdict.passed


def requirements() -> list[str]:
    """The pinned packages, and what is installed here without a pin; local version labels are no release's."""
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pinned = {line.split("==")[0].lower().replace("_", "-"): line for line in lines if "==" in line}
    for found in distributions():
        name = found.metadata["Name"].lower().replace("_", "-").replace(".", "-")
        if name != "sotto":
            pinned.setdefault(name, f"{name}=={found.version.split('+')[0]}")
    return sorted(pinned.values())


def _materials(cyclonedx: Path) -> bool:
    target = ROOT / "build" / "sbom.cdx.json"
    target.parent.mkdir(exist_ok=True)
    command = [cyclonedx, "environment", sys.executable, "--of", "JSON", "--output-reproducible", "-o", target]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        print(f"bill of materials: not written ({(ended.stderr.strip().splitlines() or ['no reason given'])[-1]})")
        return False
    written = json.loads(target.read_text())
    print(f"bill of materials: {target.relative_to(ROOT)}, {written['bomFormat']} {written['specVersion']}, ", end="")
    print(f"{len(written['components'])} components")
    return True


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
