"""The reference of the `sotto` command, from the same declarations that its `--help` is made of."""

from __future__ import annotations

from collections.abc import Iterator

import click
import typer

__all__ = ["cli_reference"]


def cli_reference() -> str:
    """Every command with its arguments and options, as Markdown."""
    from experiments.cli import make_app

    root = typer.main.get_command(make_app())
    return "\n".join(line for path, command in _commands(root, "sotto") for line in _page(path, command))


def _commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    inner = getattr(command, "commands", None)
    if inner is None or getattr(command, "invoke_without_command", False):
        yield path, command
    for name, one in sorted((inner or {}).items()):
        yield from _commands(one, f"{path} {name}")


def _page(path: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=path)
    yield f"## `{path}`\n"
    yield f"{command.help or ''}\n"
    pieces = [piece for piece in command.collect_usage_pieces(context) if not piece.startswith("COMMAND")]
    yield f"```text\n{path} {' '.join(pieces)}\n```\n"
    parameters = [one for one in command.params if not getattr(one, "hidden", False)]
    if parameters:
        yield "| argument or option | default | meaning |\n|---|---|---|"
    for one in parameters:
        yield f"| {_name(one, context)} | {_default(one)} | {_cell(getattr(one, 'help', None) or '')} |"
    yield ""


def _name(parameter: click.Parameter, context: click.Context) -> str:
    if isinstance(parameter, click.Option):
        names = ", ".join(f"`{name}`" for name in parameter.opts)
        return names if parameter.is_flag else f"{names} {_kind(parameter, context)}"
    return f"`{parameter.make_metavar(context)}`"


def _kind(option: click.Option, context: click.Context) -> str:
    return _cell(option.make_metavar(context).lower())


def _default(parameter: click.Parameter) -> str:
    value = parameter.default
    if parameter.required:
        return "must be given"
    shown = isinstance(value, str | int | float) and value is not False and value != ""
    return f"`{value}`" if shown else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "\\<")
