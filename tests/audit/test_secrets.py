"""The repository holds no secret, and one that came in would be found."""

from __future__ import annotations

import random
import shutil
import string
import subprocess
from pathlib import Path

import pytest

from tests.audit.secrets import findings, scan_files, scan_history, tracked

ROOT = Path(__file__).resolve().parent.parent.parent
GENERATOR = random.Random(7)


def characters(count, alphabet=string.ascii_letters + string.digits):
    """Made anew in every process, so that no file of the repository looks like a secret itself."""
    return "".join(GENERATOR.choice(alphabet) for _ in range(count))


def key_block(kind="PRIVATE KEY", line="\n"):
    return line.join([f"-----BEGIN {kind}-----", characters(64), characters(40), f"-----END {kind}-----"])


SECRETS = {
    "a private key": [key_block(), key_block("OPENSSH PRIVATE KEY"), key_block("RSA PRIVATE KEY", "\\n")],
    "an AWS access key": ["AKIA" + characters(16, string.ascii_uppercase)],
    "a GitHub token": ["ghp_" + characters(36), "github_pat_" + characters(82)],
    "a GitLab token": ["glpat-" + characters(20)],
    "a Hugging Face token": ["hf_" + characters(34)],
    "a PyPI token": ["pypi-AgE" + characters(80)],
    "a Slack token": ["xoxb-" + characters(40, string.digits)],
    "a Google API key": ["AIza" + characters(35)],
    "an OpenAI or Anthropic key": ["sk-" + characters(48), "sk-ant-" + characters(80)],
    "a Stripe key": ["sk_live_" + characters(24)],
    "a signed web token": [f"eyJ{characters(20)}.eyJ{characters(30)}.{characters(40)}"],
    "a password in an address": ["https://me:" + characters(8) + "@host.example/path"],
    "a random value under a secret's name": [
        f'api_key = "{characters(32)}"',
        f"'db-password': '{characters(24)}'",
        f"HUB_TOKEN: '{characters(20)}'",
    ],
}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout, so there are no tracked files")
def test_no_tracked_file_holds_a_secret():
    assert scan_files(ROOT) == []
    assert len(tracked(ROOT)) > 400


@pytest.mark.parametrize(("kind", "secret"), [(kind, one) for kind, some in SECRETS.items() for one in some])
def test_a_secret_is_found_with_its_line_and_not_printed(kind, secret):
    found = list(findings(f"one\ntwo {secret} more\n", "file"))
    assert (found[0].place, found[0].line, found[0].kind) == ("file", 2, kind)
    assert secret not in repr(found)


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----\n",
        "-----BEGIN CERTIFICATE-----\n" + "A" * 64,
        "token = tokenizer.eos_token_id_of_something",
        'secret = "the-quick-brown-fox"',
        'password = ""',
        "https://host.example:7000/path@2",
        '"set_digest": "' + "ab" * 32 + '"',
        "sum-a.example:7000",
        "AKIA",
    ],
)
def test_what_only_looks_like_one_is_none(text):
    assert list(findings(text, "file")) == []


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
def test_a_secret_that_was_taken_away_again_is_found_in_the_history(tmp_path):
    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "key.pem").write_text(key_block())
    git("add", "key.pem")
    git("commit", "-m", "a key")
    assert [finding.kind for finding in scan_files(tmp_path)] == ["a private key"]
    git("rm", "key.pem")
    git("commit", "-m", "no key")
    assert scan_files(tmp_path) == []
    assert {finding.kind for finding in scan_history(tmp_path)} == {"a private key"}
