"""The `sotto` command: one module of commands a subject, one place where errors become sentences.

Exit codes: 0 done; 2 something that the user or operator can mend, told in one sentence on standard error;
130 interrupted by Ctrl-C; 143 a run, a sweep or a pre-training that was ended by SIGTERM.
"""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from typing import Annotated

import click
import typer

from secagg.errors import SottoError

__all__ = ["main", "make_app"]


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"sotto {version('sotto')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop")
    ] = False,
) -> None:
    """Nothing but its options: each subject has a command."""


def make_app() -> typer.Typer:
    """The command with all its subjects."""
    from experiments.argument_help import keep_argument_help
    from experiments.commands import budget, data, party, pretrain, privacy, report, run, suggest

    keep_argument_help()
    app = typer.Typer(
        add_completion=True,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Federated LoRA fine-tuning with distributed differential privacy under secure multi-party computation.",
    )
    app.callback()(_options)
    for module in (run, pretrain, suggest, privacy, budget, party, data, report):
        module.register(app)
    return app


def main() -> None:
    """Entry point of the console command."""
    # Libraries' advice about themselves is not for the users of a run.
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        code = make_app()(standalone_mode=False)
    except click.exceptions.ClickException as error:
        _fail(_mistyped(error), error.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        _fail("interrupted", 130)
    except SottoError as error:
        _fail(str(error), 2)
    except BrokenPipeError:
        # The reader of our output went away (`sotto ... | head`); there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENAMETOOLONG, errno.ELOOP):
            raise
        _fail(f"{error.filename} cannot be the name of a file: {error.strerror}", 2)
    else:
        sys.exit(code if isinstance(code, int) else 0)


def _mistyped(error: click.ClickException) -> str:
    """What click and typer say, once; and how a configuration's key is said that was taken for an option."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None and error.ctx.command.name in ("run", "sweep"):
        from fl_core.config import RunConfig
        from fl_core.config_hints import keys_called

        name = error.option_name.lstrip("-").partition("=")[0].replace("-", "_")
        keys = keys_called(RunConfig, name.rpartition(".")[2])
        if keys:
            return f"no option {error.option_name}; keys of the configuration are said as {' or '.join(keys)}=value"
    return re.sub(r"( Did you mean [^?]*\?)\1+", r"\1", error.format_message())


def _fail(sentence: str, code: int) -> None:
    if sentence:  # `sotto` alone prints its help and has nothing to add
        print(f"error: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
