"""An audit never says that nothing is known to be wrong when nothing could be asked."""

from __future__ import annotations

import json

import pytest

from tests.audit.__main__ import requirements
from tests.audit.vulnerabilities import CANARY, Verdict, ask, judge


def report(*entries):
    return json.dumps({"dependencies": list(entries), "fixes": []})


def package(name, *ids, skipped=None):
    if skipped:
        return {"name": name, "skip_reason": skipped}
    return {"name": name, "version": "1.0", "vulns": [{"id": each, "fix_versions": []} for each in ids]}


SEEN = report(package("requests", "CVE-2018-18074"))
CLEAN = report(package("numpy"), package("torch"))


@pytest.mark.parametrize(
    ("canary", "reason"),
    [
        (report(package("requests", skipped="not found on the index")), "not found on the index"),
        (report(package("requests")), "dependencies"),
        ("ConnectionError: no such host", "ConnectionError: no such host"),
        ("", "no answer"),
        ("{}", "{}"),
        ("[]", "[]"),
    ],
)
def test_a_service_that_does_not_know_the_canary_has_checked_nothing(canary, reason):
    verdict = judge(canary, CLEAN)
    assert not verdict.asked
    assert not verdict.passed
    assert reason in verdict.reason
    text = "\n".join(verdict.lines())
    assert "NOT CHECKED" in text
    assert "nothing is known about any package" in text
    assert "none that is known" not in text


def test_a_service_that_breaks_off_has_checked_nothing_either():
    verdict = judge(SEEN, "timed out")
    assert (verdict.asked, verdict.passed, verdict.reason) == (False, False, "timed out")


def test_what_the_service_says_is_told():
    assert judge(SEEN, CLEAN) == Verdict(True, clean=2)
    assert judge(SEEN, CLEAN).passed
    verdict = judge(SEEN, report(package("numpy"), package("old", "CVE-1", "CVE-2"), package("own", skipped="unknown")))
    assert (verdict.vulnerable, verdict.unknown, verdict.clean) == (("old 1.0: CVE-1, CVE-2",), ("own",), 1)
    assert not verdict.passed
    assert any("own" in line and "NOT CHECKED" in line for line in verdict.lines())
    assert not judge(SEEN, report(package("own", skipped="unknown"))).passed


def test_the_tool_is_asked_about_exactly_these_packages_and_its_errors_come_back(tmp_path):
    tool = tmp_path / "pip-audit"
    tool.write_text('#!/bin/sh\ncat "$2"\n')
    tool.chmod(0o755)
    assert ask(tool, CANARY) == CANARY
    tool.write_text("#!/bin/sh\necho cannot >&2\nexit 1\n")
    assert ask(tool, CANARY) == "cannot\n"


def test_every_pin_and_every_installed_package_is_asked_about_once():
    found = requirements()
    names = [line.split("==")[0].lower().replace("_", "-") for line in found]
    assert len(names) == len(set(names))
    assert {"torch", "crypten", "cryptography", "pytest"} <= set(names)
    assert "sotto" not in names
    assert all("==" in line and "+" not in line for line in found)
