"""What members of a deployment hand to each other or keep: `parties.yaml`, cards, rosters, keys, the journal.

A journal's chain has no key, so lines that are missing at its end cannot show; anything else must.
"""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from bench.fuzz.mutations import mixed
from bench.fuzz.oracle import Surface
from bench.fuzz.values import changed, encoded, json_text, odd_yaml
from secagg.deployment.cards import ClientCard, CohortCard, CoordinatorCard, DealerCard, PartyCard, load_card, save_card
from secagg.deployment.keys import PartyKeys, load_party_keys
from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.parties_file import load_deployment, read_roster, save_deployment
from secagg.deployment.terms import Deployment, Policy
from secagg.messages import RoundSpec
from secagg.party.journal import Journal

__all__ = ["card_files", "deployment_file", "journal_file", "key_files", "roster_file"]


def _made(folder: Path) -> Deployment:
    folder.mkdir(parents=True, exist_ok=True)
    addresses = [("127.0.0.1", 1000 + rank) for rank in range(3)]
    return create_deployment(folder / "made", addresses, Policy(n_min=2), dealer=("127.0.0.1", 999))


def deployment_file(folder: Path) -> Surface:
    """`parties.yaml`: what is accepted must be the same deployment when it is written and read again."""
    _made(folder)
    path, again = folder / "parties.yaml", folder / "again.yaml"
    good = [(folder / "made" / "parties.yaml").read_bytes()]
    document = yaml.safe_load(good[0])

    def read(case: bytes) -> Deployment:
        path.write_bytes(case)
        return load_deployment(path)

    def wrong(case: bytes, found: Deployment) -> str | None:
        again.unlink(missing_ok=True)
        save_deployment(found, again)
        return None if load_deployment(again) == found else "a deployment was read that is another when written again"

    def draw(rng: random.Random) -> bytes:
        return mixed(rng, good, odd_yaml(document))

    return Surface("parties.yaml of a deployment", draw, read, wrong, places=(path.name,))


def card_files(folder: Path) -> Surface:
    """Cards of all roles."""
    made = _made(folder)
    path = folder / "card.yaml"
    assert made.dealer is not None
    assert made.enrolment.cohort is not None
    cards = [
        PartyCard(1, made.parties[1]), CoordinatorCard(made.coordinator), DealerCard(made.dealer),
        CohortCard(made.enrolment.cohort), ClientCard(7, made.enrolment.cohort),
    ]  # fmt: skip
    good = []
    for number, card in enumerate(cards):
        save_card(card, folder / f"{number}.yaml")
        good.append((folder / f"{number}.yaml").read_bytes())
    documents = [yaml.safe_load(text) for text in good]

    def draw(rng: random.Random) -> bytes:
        return mixed(rng, good, odd_yaml(*documents))

    def read(case: bytes) -> Any:
        path.write_bytes(case)
        return load_card(path)

    return Surface("cards of a deployment's members", draw, read, places=(path.name,))


def roster_file(folder: Path) -> Surface:
    """A roster of clients and their keys."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "roster.yaml"
    rosters = [{client: hashlib.sha256(b"%d" % client).hexdigest() for client in range(count)} for count in (1, 5, 30)]
    good = [yaml.safe_dump(roster).encode() for roster in rosters]

    def draw(rng: random.Random) -> bytes:
        text = {str(client): key for client, key in rng.choice(rosters).items()}
        return mixed(rng, good, odd_yaml(text))

    def read(case: bytes) -> dict[int, bytes]:
        path.write_bytes(case)
        return read_roster(path)

    def wrong(case: bytes, found: dict[int, bytes]) -> str | None:
        whole = all(type(client) is int and client >= 0 and len(key) == 32 for client, key in found.items())
        return None if whole and len(set(found.values())) == len(found) else "a roster of impossible clients was read"

    return Surface("rosters of clients", draw, read, wrong, places=(path.name,))


def key_files(folder: Path) -> Surface:
    """A party's folder with one file changed: no other key than its own may come of it."""
    made = _made(folder)
    home = folder / "made" / "party-1"
    files = sorted(path.name for path in home.iterdir())
    good = {name: (home / name).read_bytes() for name in files}
    others = [
        (folder / "made" / place / name).read_bytes()
        for place in ("party-0", "party-2", "coordinator")
        for name in files
        if (folder / "made" / place / name).exists()
    ]
    sealing = load_party_keys(home, made, 1).sealing.private_bytes_raw()

    def draw(rng: random.Random) -> dict[str, bytes]:
        name = rng.choice(files)
        return {name: mixed(rng, [good[name], *others], lambda rng: rng.choice(others))}

    def read(case: dict[str, bytes]) -> PartyKeys:
        for name, content in good.items():
            (home / name).write_bytes(case.get(name, content))
        return load_party_keys(home, made, 1)

    def wrong(case: dict[str, bytes], found: PartyKeys) -> str | None:
        return None if found.sealing.private_bytes_raw() == sealing else "another key than the party's own was taken"

    return Surface("key folders of parties", draw, read, wrong, places=("party",))


def journal_file(folder: Path) -> Surface:
    """A party's journal, changed, or with lines of odd values under a chain that holds."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "journal"
    wholes: list[bytes] = []
    for run in ("run", "other"):
        own = folder / f"journal-{run}"
        with Journal(own) as journal:
            for number in range(1, 6):
                clients = list(range(number % 3, 10, 1 + number % 2))
                journal.open(RoundSpec(run, number, 0, range(10), 3, 1, model=f"model {number % 2}"), clients)
                journal.refused("a part that was changed", round=number)
        wholes.append(own.read_bytes())

    def chained_again(rng: random.Random) -> bytes:
        chain, lines = hashlib.sha256(b"sotto party journal, version 1\n").hexdigest(), []
        for line in rng.choice(wholes).splitlines():
            record = json.loads(line)
            del record["chain"]
            if rng.random() < 0.2:
                record = changed(rng, record)
            body = encoded(json_text(record).replace(" ", ""))
            chain = hashlib.sha256(chain.encode() + body).hexdigest()
            lines.append(body[:-1] + f',"chain":"{chain}"}}\n'.encode())
        return b"".join(lines)

    def draw(rng: random.Random) -> dict[str, bytes]:
        if rng.random() < 0.3:
            return {"chained": chained_again(rng)}
        return {"changed": mixed(rng, wholes)}

    def read(case: dict[str, bytes]) -> frozenset[Any]:
        (content,) = case.values()
        path.write_bytes(content)
        with Journal(path) as journal:
            return frozenset(journal.openings._names)

    def wrong(case: dict[str, bytes], found: frozenset[Any]) -> str | None:
        if "chained" in case:
            return None
        kept = case["changed"][: case["changed"].rfind(b"\n") + 1]
        return None if any(whole.startswith(kept) for whole in wholes) else "a journal that was changed was read"

    return Surface("journals of parties", draw, read, wrong, places=(path.name,), tries=10_000)
