"""Data files: idx images, posts, public text, tokenizers; gzip bombs among them.

Published sets are checked against their digest before anything is decoded; here the decoders meet anything.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np

from bench.fuzz.archives import gzip_bomb
from bench.fuzz.mutations import mixed
from bench.fuzz.oracle import Limits, Surface
from bench.fuzz.values import changed, encoded, json_text, odd_json
from experiments.datasets.idx import parse_idx
from experiments.datasets.post_source import posts_in
from experiments.language.text_sources import TextSource, read_documents
from experiments.language.tokenizer import load_tokenizer, train_bpe

__all__ = ["gpt2_files", "idx_file", "posts_file", "text_file", "tokenizer_folder"]


def idx_file(folder: Path) -> Surface:
    """MNIST's format."""
    images = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    raw = [struct.pack(">HBBIII", 0, 8, 3, 3, 4, 5) + images.tobytes(), struct.pack(">HBBI", 0, 8, 1, 3) + b"\1\2\3"]
    good = [gzip.compress(one, mtime=0) for one in raw]

    def inside(rng: random.Random) -> bytes:
        return gzip.compress(mixed(rng, raw), 1, mtime=0)

    def lying(rng: random.Random) -> bytes:
        sides = [rng.choice([0, 1, 3, 4, 5, 60, 2**16, 2**31, 2**32 - 1]) for _ in range(3)]
        return gzip.compress(
            struct.pack(">HBBIII", 0, rng.choice([8, 9, 13]), 3, *sides) + images.tobytes(), 1, mtime=0
        )

    def bomb(rng: random.Random) -> bytes:
        return gzip_bomb() if rng.random() < 0.02 else inside(rng)

    def draw(rng: random.Random) -> tuple[bytes, int]:
        return mixed(rng, good, inside, lying, bomb), rng.choice([1, 3])

    def read(case: tuple[bytes, int]) -> Any:
        return parse_idx(case[0], "images.gz", case[1])

    def wrong(case: tuple[bytes, int], found: Any) -> str | None:
        content = gzip.decompress(case[0])
        return None if found.tobytes() == content[4 + 4 * case[1] :] else "other values than the file holds were read"

    return Surface("idx images", draw, read, wrong, places=("images.gz",), tries=20_000)


_POSTS = [{"user": f"user {n % 3}", "text": f"some words, number {n}"} for n in range(6)]


def _lines(rows: list[Any]) -> bytes:
    return encoded("".join(json_text(row) + "\n" for row in rows))


def _odd_line(rng: random.Random) -> bytes:
    rows: list[Any] = list(_POSTS)
    rows[rng.randrange(len(rows))] = changed(rng, rng.choice(_POSTS))
    return _lines(rows)


def posts_file(folder: Path) -> Surface:
    """A folder of posts; read by the `datasets` library, whose threads and buffers are its own."""
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["SOTTO_CACHE"] = str(folder / "cache")
    import datasets  # noqa: F401  # before the fork: seconds

    (folder / "test.jsonl").write_bytes(_lines([{"user": "another", "text": "words"}]))
    path = folder / "train.jsonl"
    good = [_lines(_POSTS), _lines(_POSTS[:1])]

    def draw(rng: random.Random) -> bytes:
        return mixed(rng, good, _odd_line)

    def read(case: bytes) -> Any:
        path.write_bytes(case)
        return posts_in(folder, "mine")

    def wrong(case: bytes, found: Any) -> str | None:
        rows = [(row["user"], row["text"]) for row in found.train]
        right = all(isinstance(user, str) and isinstance(text, str) for user, text in rows)
        return None if right else "a post was read that has no user or no text"

    return Surface("posts by users", draw, read, wrong, places=("mine",), tries=1_000,
                   limits=Limits(60.0, 512 * 2**20, 16 * 2**30))  # fmt: skip


def text_file(folder: Path) -> Surface:
    """Public text for pre-training, as lines or packed."""
    folder.mkdir(parents=True, exist_ok=True)
    good = [_lines(_POSTS)]
    packed = [gzip.compress(good[0], mtime=0)]

    def bomb(rng: random.Random) -> bytes:
        if rng.random() > 0.02:
            return gzip.compress(_odd_line(rng), 1, mtime=0)
        return gzip_bomb(b"x") if rng.random() < 0.7 else gzip_bomb(b"\n")

    def draw(rng: random.Random) -> dict[str, bytes]:
        if rng.random() < 0.2:
            return {"text.txt": mixed(rng, good)}
        if rng.random() < 0.5:
            return {"text.jsonl": mixed(rng, good, _odd_line)}
        return {"text.jsonl.gz": mixed(rng, packed, bomb)}

    def read(case: dict[str, bytes]) -> int:
        ((name, content),) = case.items()
        (folder / name).write_bytes(content)
        return sum(len(text.encode()) for text in read_documents(TextSource(str(folder / name))))

    return Surface("public text", draw, read, places=("text.",))


def tokenizer_folder(folder: Path) -> Surface:
    """A tokenizer's folder with one file changed."""
    folder.mkdir(parents=True, exist_ok=True)
    train_bpe(["the cat sees a dog", "a dog sees the cat"] * 5, 280).save_pretrained(str(folder))
    good = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}

    def draw(rng: random.Random) -> dict[str, bytes]:
        name = rng.choice(list(good))
        document = json.loads(good[name])
        text = mixed(rng, [good[name]], odd_json(document))
        return {name: text}

    def read(case: dict[str, bytes]) -> list[int]:
        for name, content in good.items():
            (folder / name).write_bytes(case.get(name, content))
        tokenizer = load_tokenizer(str(folder))
        return [*tokenizer.encode("the cat é"), tokenizer.eos_token_id]

    return Surface("tokenizers' folders", draw, read, places=(folder.name,), tries=3_000,
                   limits=Limits(address_room=4 * 2**30))  # fmt: skip


def gpt2_files(folder: Path) -> Surface:
    """`vocab.json` and `merges.txt` below the data folder."""
    home = folder / "gpt2-tokenizer"
    home.mkdir(parents=True, exist_ok=True)
    trained = train_bpe(["the cat sees a dog", "a dog sees the cat"] * 5, 280)
    trained.backend_tokenizer.model.save(str(home))
    good = {name: (home / name).read_bytes() for name in ("vocab.json", "merges.txt")}
    vocabulary = json.loads(good["vocab.json"])

    def draw(rng: random.Random) -> dict[str, bytes]:
        if rng.random() < 0.5:
            return {"merges.txt": mixed(rng, [good["merges.txt"]])}
        odd = mixed(rng, [good["vocab.json"]], lambda r: json_text(changed(r, vocabulary)).encode("utf-8", "replace"))
        return {"vocab.json": odd}

    def read(case: dict[str, bytes]) -> list[int]:
        os.environ["SOTTO_DATA"] = str(folder)
        for name, content in good.items():
            (home / name).write_bytes(case.get(name, content))
        tokenizer = load_tokenizer("gpt2")
        return [*tokenizer.encode("the cat é"), tokenizer.eos_token_id]

    return Surface("GPT-2's tokenizer files", draw, read, places=(home.name,), tries=5_000)
