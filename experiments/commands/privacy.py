"""The commands that answer questions about privacy: `sotto epsilon`, `sotto calibrate` and `sotto ledger`.

Takes options as a user types them; prints a small table, or with `--json` exactly one JSON object. Every
epsilon is printed with its unit, neighbouring relation, accountant and adversary. Mistakes raise
`SottoError`, one sentence; the caller prints it and exits with 2. Nothing here computes a bound of its own.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from experiments.formatting import epsilon_to_cite, finite
from fl_core import privacy
from fl_core.privacy.events import MechanismEvent, PrivacyError
from fl_core.privacy.views import views

__all__ = ["calibrate", "epsilon", "ledger", "register"]

LEDGER_NAME = "ledger.jsonl"

SampleRate = Annotated[
    float | None, typer.Option(help="Required. Chance of each contribution to take part, above 0 and at most 1.")
]
Steps = Annotated[int | None, typer.Option(help="Required. Opened sums, at least 1.")]
Delta = Annotated[float, typer.Option(help="Failure probability, above 0 and below 1.")]
AccountantName = Annotated[
    str | None, typer.Option(help="pld or rdp; without it, pld where every event supports it, else rdp.")
]
MechanismName = Annotated[str, typer.Option(help="gaussian, discrete_gaussian or skellam.")]
NeighbouringName = Annotated[str, typer.Option(help="zero_out or replace_one.")]
Clients = Annotated[int | None, typer.Option(help="Equal noise shares that make up the whole noise.")]
Dimension = Annotated[int | None, typer.Option(help="Coordinates of the opened sum.")]
Scale = Annotated[float | None, typer.Option(help="Grid steps per clip norm.")]
Aggregators = Annotated[int, typer.Option(help="Aggregators that add noise of their own to every sum.")]
AggregatorNoise = Annotated[float, typer.Option(help="Noise std of each of these aggregators over the clip norm.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def register(app: typer.Typer) -> None:
    """Add the three commands to the program."""
    app.command("epsilon")(epsilon)
    app.command("calibrate")(calibrate)
    app.command("ledger")(ledger)


def epsilon(
    delta: Delta,
    noise_multiplier: Annotated[
        float | None,
        typer.Option(
            help="Required. Noise std of all clients together over the clip norm; 0 if only aggregators add noise."
        ),
    ] = None,
    sample_rate: SampleRate = None,
    steps: Steps = None,
    accountant: AccountantName = None,
    mechanism: MechanismName = "gaussian",
    neighbouring: NeighbouringName = "zero_out",
    unit: Annotated[str, typer.Option(help="What one contribution is: example or client.")] = "example",
    clients: Clients = None,
    survivors: Annotated[int | None, typer.Option(help="Clients in the opened sums; default all.")] = None,
    colluders: Annotated[int, typer.Option(help="Clients that share their secrets with the adversary.")] = 0,
    dimension: Dimension = None,
    scale: Scale = None,
    aggregators: Aggregators = 0,
    aggregator_multiplier: AggregatorNoise = 0.0,
    history: Annotated[
        Path | None, typer.Option(help="JSON list of what ran, instead of the three required options.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what a run costs: epsilon for the release, the aggregators and one client's own message."""
    single = {"noise_multiplier": noise_multiplier, "sample_rate": sample_rate, "steps": steps}
    shares = {
        "clients": clients,
        "survivors": survivors,
        "colluders": colluders,
        "dimension": dimension,
        "scale": scale,
        "aggregators": aggregators,
        "aggregator_multiplier": aggregator_multiplier,
    }
    with _quiet():
        if history is not None:
            given = [name for name, value in single.items() if value is not None]
            given += [name for name, value in shares.items() if value]
            if given:
                raise PrivacyError(f"{_option(given[0])} cannot be given with --history, which holds it already.")
            events = privacy.parse_history(history)
        else:
            entry = {"mechanism": mechanism, **_required(single, "or give --history with a file"), **shares}
            events = (MechanismEvent.from_json(entry),)
        answer = views(events, delta, accountant, neighbouring, unit).to_json()
        if any(event.mechanism != "gaussian" for event in events):
            answer["idealised"] = _idealised(events, delta, neighbouring)
    if as_json:
        _print_json(answer)
        return
    _print_answer(Console(), answer)


def calibrate(
    epsilon: Annotated[float, typer.Option(help="The epsilon to meet, above 0.")],
    delta: Delta,
    sample_rate: SampleRate = None,
    steps: Steps = None,
    accountant: AccountantName = None,
    mechanism: MechanismName = "gaussian",
    neighbouring: NeighbouringName = "zero_out",
    clients: Clients = None,
    dimension: Dimension = None,
    scale: Scale = None,
    as_json: AsJson = False,
) -> None:
    """Find the smallest noise multiplier that meets an epsilon; it is rounded up, never down."""
    with _quiet():
        needed = _required({"sample_rate": sample_rate, "steps": steps}, "")
        entry = {
            "mechanism": mechanism,
            "noise_multiplier": 1.0,
            **needed,
            "clients": clients,
            "dimension": dimension,
            "scale": scale,
        }
        event = MechanismEvent.from_json(entry)
        noise_multiplier = privacy.calibrate_event(event, epsilon, delta, accountant, neighbouring)
        solved = MechanismEvent.from_json({**entry, "noise_multiplier": noise_multiplier})
        met = privacy.epsilon([solved], delta, accountant, neighbouring)
    answer = {
        "noise_multiplier": noise_multiplier,
        "epsilon": met.epsilon,
        "target_epsilon": epsilon,
        "delta": delta,
        "sample_rate": sample_rate,
        "steps": steps,
        "mechanism": mechanism,
        "accountant": met.accountant,
        "neighbouring": met.neighbouring,
        "proven": met.proven,
        "notes": list(met.notes),
    }
    if as_json:
        _print_json(answer)
        return
    console = Console()
    console.print(
        f"noise multiplier {noise_multiplier:g} gives epsilon {epsilon_to_cite(met.epsilon)} at delta {delta:g} "
        f"({mechanism}, {met.accountant}, {met.neighbouring})",
        highlight=False,
        soft_wrap=True,
    )
    _print_lines(console, answer)


def ledger(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Runs' folders, or their ledger files.")],
    accountant: AccountantName = None,
    as_json: AsJson = False,
) -> None:
    """Verify runs' ledgers, derive each one's three epsilons from what was opened, and add the runs up."""
    with _quiet():
        ledgers = [privacy.read_ledger(each if each.is_file() else each / LEDGER_NAME) for each in folders]
        together = privacy.add_up(ledgers, accountant) if len(ledgers) > 1 else []
        answers = [privacy.summarise_ledger(contents, accountant) for contents in ledgers]
    if as_json:
        joint = {"runs": answers, "joint": [some.to_json() for some in together]}
        _print_json(joint if together else answers[0])
        return
    console = Console()
    names = {answer["run"]: _shown(each) for answer, each in zip(answers, folders, strict=True)}
    for answer in answers:
        facts = (
            "run {run}, {openings} openings in {rounds} rounds, chain of {lines} lines intact; {mechanism}, "
            "trust {trust}, {backend}".format(**answer)
        )
        _say(console, f"{names[answer['run']]}: {facts}")
        _print_answer(console, answer)
    if len(together) > 1:
        _say(console, "these runs do not all protect the same contributions, so there is no sum of all of them")
    for some in together:
        answer = some.to_json()
        about = " on ".join(text for text in (answer["contribution"], answer["data"]) if text)
        _say(console, f"together: {', '.join(names[run] for run in answer['runs'])}" + (f" ({about})" if about else ""))
        unknown = [names[run] for run in answer["unknown"]]
        if len(unknown) == len(answer["runs"]):
            _say(console, "no ledger of these says which data it is about, so they count as runs on the same")
        elif unknown:
            _say(console, f"counted here because a ledger does not say what it is about: {', '.join(unknown)}")
        _print_answer(console, answer)


def _shown(place: Path) -> str:
    """A run as its folder is called where the command was typed."""
    return str(place.parent if place.name == LEDGER_NAME else place)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' own warnings off the screen; what a user must know is in the notes."""
    from absl import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _required(values: dict[str, Any], otherwise: str) -> dict[str, Any]:
    missing = [_option(name) for name, value in values.items() if value is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise PrivacyError(f"{', '.join(missing)} {verb} missing{', ' + otherwise if otherwise else ''}.")
    return values


def _idealised(events: Sequence[MechanismEvent], delta: float, neighbouring: str) -> dict[str, Any] | None:
    """The smaller number that nothing proves for integer noise, named as such."""
    found = privacy.idealised(events, delta, neighbouring)
    if found is None:
        return None
    return {
        "epsilon": finite(found.epsilon),
        "accountant": found.accountant,
        "proven": False,
        "notes": list(found.notes),
    }


def _print_answer(console: Console, answer: dict[str, Any]) -> None:
    table = Table(
        title=f"accountant {answer['accountant']}, delta {answer['delta']:g}, {answer['neighbouring']}, "
        f"per {answer['unit']}"
    )
    table.add_column("view")
    table.add_column("epsilon", justify="right")
    table.add_column("against")
    for name, view in answer["views"].items():
        table.add_row(name, epsilon_to_cite(view["epsilon"]), f"{view['adversary']}. {view['note']}".strip())
    console.print(table)
    _print_lines(console, answer)


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _print_lines(console: Console, answer: dict[str, Any]) -> None:
    for warning in answer.get("warnings", []):
        _say(console, f"warning: {warning}")
    for note in answer["notes"]:
        _say(console, f"note: {note}")
    beside = answer.get("idealised")
    if beside and beside["epsilon"] is not None:
        console.print(
            f"beside it: {epsilon_to_cite(beside['epsilon'])} by pld for real-valued noise of the same size "
            "(idealised mechanism, not proven for integer noise)",
            highlight=False,
            soft_wrap=True,
        )


def _print_json(answer: dict[str, Any]) -> None:
    typer.echo(json.dumps(answer, allow_nan=False))
