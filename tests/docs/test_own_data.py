"""The tutorial on one's own texts, command after command as it stands, on Python's help topics as the table."""

from __future__ import annotations

import csv
import re

import pytest

from experiments.datasets import load_posts
from tests.docs.blocks import ROOT, commands_of, python_of
from tests.docs.typed import typed

PAGE = "docs/tutorial-own-data.md"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_the_tutorial_holds_from_the_table_to_the_loaded_adapter(clone, shell, capsys):
    posts = load_posts("topics")
    with (clone / "texts.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["user", "text"])
        writer.writerows((row["user"], row["text"]) for table in (posts.train, posts.test) for row in table)
    todo = [command for _, command in commands_of(PAGE)]
    said = typed(todo[0], clone, shell)
    (following,) = re.findall(r"^next:  (.*)$", said, re.MULTILINE)
    users = re.compile(r"federation\.clients=\d+")  # how many topics there are depends on Python
    assert users.sub("", following.replace(f"{ROOT}/", "")).split() == users.sub("", todo[1]).split()
    shown = typed(following, clone, shell)
    assert "adapter: runs/own_texts/adapter" in shown
    for command in todo[2:]:
        assert typed(command, clone, shell)
    names: dict[str, object] = {}
    for block in python_of(PAGE):
        exec(compile(block.text, f"{block.document}:{block.line}", "exec"), names)
    printed = capsys.readouterr().out
    assert "How do I" in printed
    (short,) = (block for block in python_of(PAGE) if "PeftModel" in block.text)
    assert len([line for line in short.text.splitlines() if line]) <= 5
    (other,) = (command for _, command in commands_of("docs/tutorial-own-model.md") if command.startswith("sotto run"))
    here = users.findall(following)[0]
    typed(f"{users.sub(here, other)} federation.rounds=1 --out runs/other", clone, shell)
    # A user as the protected unit, as the table of changes says.
    (client,) = re.findall(r"`(privacy\.unit=client [^`]*)`", (ROOT / PAGE).read_text())
    typed(f"{following} {client} federation.rounds=1 --out runs/client", clone, shell)
