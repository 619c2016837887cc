"""Arguments are explained in `--help` and in the reference, whatever typer and click agree on."""

from __future__ import annotations

import click
import typer

from experiments.argument_help import keep_argument_help
from experiments.cli import make_app


def arguments(command):
    yield from (one for one in command.params if isinstance(one, click.Argument))
    for inner in getattr(command, "commands", {}).values():
        yield from arguments(inner)


def test_every_argument_has_an_explanation():
    found = list(arguments(typer.main.get_command(make_app())))
    assert len(found) > 8
    assert [one.name for one in found if not one.help] == []


def test_a_second_call_changes_nothing():
    keep_argument_help()
    before = typer.core.TyperArgument.__init__
    keep_argument_help()
    assert typer.core.TyperArgument.__init__ is before


def test_help_says_what_a_configuration_and_its_keys_are(sotto):
    _, out, _ = sotto("run", "--help")
    assert "YAML configuration" in out
    assert "key=value" in out
    _, out, _ = sotto("epsilon", "--help")
    assert out.count("Required.") == 3
