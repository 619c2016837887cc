"""One case of `bench.leaks`: run in a scene of its own, and everything that it wrote searched for its secrets.

Takes a case; gives a row: what was found where nothing may be, what is allowed, and what did not go as it had to.
"""

from __future__ import annotations

import stat
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from unittest import mock

from bench.leaks.allowed import allowed
from bench.leaks.life import Life, Scene
from bench.leaks.planted import planted
from bench.leaks.search import Found, Index, Secret
from bench.records import Row

__all__ = ["try_case"]


def try_case(case: Callable[[Scene], list[str]], scratch: Path, plant: Callable[[], None] | None = None) -> Row:
    """Run one case in a scene of its own and search it.

    Args:
        case: runs commands; gives what did not go as it had to.
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
        wrong = case(scene)
    finds, searched, kinds = _searched(scene)
    wrong += _open_keys(scene)
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
        "what": (case.__doc__ or "").strip(),
        "lives": len(lives),
        "secrets": dict(kinds),
        "searched": searched,
        "found": [asdict(each) for each in finds if allowed(each) is None],
        "allowed": sorted({f"{each.kind}: {allowed(each)}" for each in finds if allowed(each) is not None}),
        "control": _control(scene),
        "wrong": wrong,
    }


def _searched(scene: Scene) -> tuple[list[Found], dict[str, int], Counter[str]]:
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


def _open_keys(scene: Scene) -> list[str]:
    """Key files that others could use."""
    wrong = []
    for path in scene.seen.rglob("*-key.pem"):
        if path.parent.name == "copies":
            continue
        mode, folder = (stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent))
        if mode != 0o600 or folder != 0o700:
            wrong.append(f"{path.name} has mode {mode:o} in a folder of mode {folder:o}")
    return wrong


def _control(scene: Scene) -> int:
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
