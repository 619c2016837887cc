"""Plants secrets, runs real commands whole and broken, and searches everything that was written for the secrets.

`python -m bench.leaks --out DIR` writes `leaks.json` and `leaks.md`. Searched are standard output and error, every file
of run folders, parties' folders and caches, temporary files as they appear, command lines and environments in /proc,
arguments pickled for workers, and what printing every living object of the product's gives. As a control, a traceback
with local variables, which Sotto never makes, is searched too, and must show secrets. Key files' modes and the limit
on core dumps are looked at as well. Exit code 1 if a secret was found, or a case did not end as it had to.
"""

from __future__ import annotations

import argparse
import stat
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.leaks.cases import CASES, POST, SEED, USER
from bench.leaks.life import Life, Scene
from bench.leaks.search import KEY_ENCODINGS, TEXT_ENCODINGS, VECTOR_ENCODINGS, Found, Index, Secret
from bench.leaks.task import RECORDS
from bench.leaks.watch import read_vault
from bench.measure import environment
from bench.tables import load, store

__all__ = ["allowed", "control", "main", "search_scene", "try_case"]

_KEY, _POST, _USER, _SEED = "private keys of clients and members", "private posts", "users' names", "test-mode seed"
# (kind, part of the path, why): the only places where a secret may be.
_ALLOWED = (
    (_KEY, "-key.pem", "key files, mode 600 in folders of mode 700"),
    (_POST, "/posts/", "the private data"),
    (_USER, "/posts/", "the private data"),
    (_POST, "/bad-posts/", "the private data"),
    (_USER, "/bad-posts/", "the private data"),
    (_POST, "/cache/datasets/", "the cache of posts, in a folder of mode 700"),
    (_USER, "/cache/datasets/", "the cache of posts, in a folder of mode 700"),
    (_USER, "/cache/sequences/", "the cache of posts' tokens, in a folder of mode 700"),
    (_SEED, "/seeded.yaml", "the user's configuration"),
    (_SEED, "/reprs/seeded", "the printed configuration: the run says that it is not private"),
    (_SEED, "/run-seeded/config.yaml", "the run's configuration: the run says that it is not private"),
    (_SEED, "/run-seeded/summary.json", "the run's configuration: the run says that it is not private"),
)


def allowed(found: Found) -> str | None:
    """Why a find is where it may be; None if it is not."""
    return next((why for kind, part, why in _ALLOWED if kind == found.kind and part in found.place), None)


def planted(scene: Scene) -> list[Secret]:
    """All secrets of a scene: what its processes met, its key files, its records and posts."""
    keys = set()
    for path in scene.seen.rglob("*-key.pem"):
        if not path.is_file():
            continue
        try:
            keys.add(load_pem_private_key(path.read_bytes(), None).private_bytes_raw())  # type: ignore[union-attr]
        except ValueError:
            continue  # a damaged one
    secrets = [*read_vault(scene.vault), *(Secret(_KEY, key) for key in sorted(keys)), *RECORDS]
    return [*secrets, Secret(_POST, POST), Secret(_POST, POST[:28]), Secret(_USER, USER), Secret(_SEED, str(SEED))]


def search_scene(scene: Scene) -> tuple[list[Found], dict[str, int], Counter[str]]:
    """Finds, bytes searched by top folder, and secrets by kind."""
    secrets = planted(scene)
    index = Index()
    index.add(secrets)
    finds: list[Found] = []
    searched: Counter[str] = Counter()
    for path in sorted(scene.seen.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            place = path.relative_to(scene.seen)
            searched[_place(place)] += len(content)
            finds += index.search(content, f"/{place}")
        finds += index.search(path.name.encode(), f"name of /{path.relative_to(scene.seen)}")
    return finds, dict(searched), Counter(secret.kind for secret in secrets)


def _place(path: Path) -> str:
    top = path.parts[0]
    names = {
        "output": "standard output and error", "proc": "command lines and environments", "copies": "temporary files",
        "tmp": "temporary files left", "reprs": "printed objects", "pickles": "arguments of workers", "cache": "cache",
        "deployment": "parties' folders", "wrong-keys": "parties' folders", "posts": "private data",
        "bad-posts": "private data",
    }  # fmt: skip
    return names.get(top, "run folders" if top.startswith("run-") else "configurations")


def modes(scene: Scene) -> list[str]:
    """Key files that others could use."""
    wrong = []
    for path in scene.seen.rglob("*-key.pem"):
        if path.parent.name == "copies":
            continue
        mode, folder = (stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent))
        if mode != 0o600 or folder != 0o700:
            wrong.append(f"{path.name} has mode {mode:o} in a folder of mode {folder:o}")
    return wrong


def control(scene: Scene) -> int:
    """Finds in a traceback with local variables, of an error with secrets in them; 0 would be a blind search."""
    secrets, index = planted(scene), Index()
    index.add(secrets)
    return len(index.search("".join(map(_traceback_with_locals, secrets[:50])).encode(), "control"))


def _traceback_with_locals(secret: Secret) -> str:
    local = secret.value
    try:
        raise RuntimeError(f"with {len(str(local))} characters")
    except RuntimeError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def try_case(name: str, scratch: Path, plant: Callable[[], None] | None = None) -> dict[str, Any]:
    """Run one case in a scene of its own and search it.

    Args:
        name: one of `CASES`.
        scratch: folder, made here.
        plant: changes the product in every life of the case, to see the search find it.
    """
    scene = Scene(scratch / "seen", scratch / "vault")
    scene.prepare()
    lives: list[Life] = []
    original = Life.start

    def start(life: Life) -> Life:
        lives.append(life)
        own = life.plant

        def both() -> None:
            for each in (own, plant):
                if each is not None:
                    each()

        life.plant = both
        return original(life)

    with mock.patch.object(Life, "start", start):
        wrong = CASES[name].run(scene)
    finds, searched, kinds = search_scene(scene)
    wrong += modes(scene)
    for life in lives:
        wrong += [
            f"a temporary key file of {life.name} has mode {mode:o}: {Path(path).name}"
            for path, mode in life.modes.items()
            if path.endswith("-key.pem") and mode != 0o600
        ]
        holds = life.words[0] == "run" or life.words[:2] == ["party", "--config"]
        if holds and life.status in (0, 1, 130, -9) and life.core_limits and set(life.core_limits.values()) != {"0 0"}:
            wrong.append(f"a process of {life.name} may leave a core dump: {sorted(set(life.core_limits.values()))}")
    return {
        "what": CASES[name].parts,
        "lives": len(lives),
        "secrets": dict(kinds),
        "searched": searched,
        "found": [asdict(each) for each in finds if allowed(each) is None],
        "allowed": sorted({f"{each.kind}: {allowed(each)}" for each in finds if allowed(each) is not None}),
        "control": control(scene),
        "wrong": wrong,
    }


def leaks_page(part: dict[str, Any]) -> str:
    """One page of what was planted, where it was looked for, and what was found."""
    rows = part["rows"].values()
    encodings = {_POST: TEXT_ENCODINGS, _USER: TEXT_ENCODINGS, _SEED: TEXT_ENCODINGS}
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["secrets"]))
    size = sum(sum(row["searched"].values()) for row in rows)
    lines = [
        "# Secrets in what was written: found / looked for",
        "",
        *(f"Measured: {line}." for line in part["environment"]),
        "",
        f"Command: `{part['command']}`. {len(part['rows'])} cases, {sum(row['lives'] for row in rows)} commands, "
        f"{size:,} bytes searched. A piece of 8 bytes of a key, three neighbours of a vector, or half a text is a "
        "find. Control: the same search finds secrets in a traceback with local variables, which Sotto never makes.",
        "",
        "| secret | looked for | encodings | found | where it may be |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kind in kinds:
        own = encodings.get(kind, VECTOR_ENCODINGS if "vector" in kind or "records" in kind else KEY_ENCODINGS)
        count = sum(row["secrets"].get(kind, 0) for row in rows)
        found = sum(find["kind"] == kind for row in rows for find in row["found"])
        places = sorted({text.split(": ", 1)[1] for row in rows for text in row["allowed"] if text.startswith(kind)})
        lines.append(f"| {kind} | {count:,} | {', '.join(own)} | {found} | {'; '.join(places) or 'nowhere'} |")
    bytes_in: Counter[str] = Counter()
    for row in rows:
        bytes_in.update(row["searched"])
    lines += [
        "",
        "| place | bytes |",
        "| --- | --- |",
        *(f"| {name} | {count:,} |" for name, count in bytes_in.items()),
    ]
    lines += ["", "| case | what | commands | found | control's finds | not as it had to be |", "| --- " * 6 + "|"]
    lines += [
        f"| {name} | {row['what']} | {row['lives']} | {len(row['found'])} | {row['control']} | {len(row['wrong'])} |"
        for name, row in part["rows"].items()
    ]
    lines += [""]
    for name, row in part["rows"].items():
        lines += [f"* {name}: found {find}" for find in row["found"]] + [f"* {name}: {text}" for text in row["wrong"]]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.leaks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for leaks.json and leaks.md")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES), help="default: all")
    parser.add_argument("--scratch", type=Path, help="folder for runs (default: the system's temporary one)")
    options = parser.parse_args(arguments)
    from bench.crashes.__main__ import warm_up

    warm_up()
    import secagg.party.state  # noqa: F401 (imports CrypTen, once for all forks)

    path = options.out / "leaks.json"
    part = load(path)
    if isinstance(part["rows"], list):
        part["rows"] = {}
    part["environment"] = [environment("cpu")]
    part["command"] = "python -m bench.leaks --out DIR"
    for number, name in enumerate(options.cases, 1):
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="sotto-leaks-", dir=options.scratch) as scratch:
            row = try_case(name, Path(scratch).resolve())
        part["rows"][name] = row
        seconds = time.monotonic() - started
        print(
            f"{number} of {len(options.cases)}: {name}: {len(row['found'])} found, {row['wrong']}, {seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )
        store(path, part)
        path.with_suffix(".md").write_text(leaks_page(part))
    rows = [part["rows"][name] for name in options.cases]
    return int(any(row["found"] or row["wrong"] or not row["control"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
