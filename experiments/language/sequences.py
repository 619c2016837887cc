"""Posts as token sequences of bounded length, each a record that can be protected by itself.

Takes posts and a tokenizer; gives a padded integer matrix with each sequence's length and user. A sequence begins with
the end-of-text token and holds whole words of one post: posts are cut at sentence ends where that costs little, else
between words. Tokenisation of public posts is cached by `datasets` under a name that depends on the posts, the
tokenizer and the length; tokens are as readable as texts, so those of anybody's own must never be.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from experiments.cache_root import private_folder
from experiments.language.vocabulary import Vocabulary
from secagg.errors import SottoError

__all__ = ["Sequences", "cut", "record_words", "sequences_of"]

_FORMAT = 1  # raise when the same posts are cut differently


@dataclass(frozen=True)
class Sequences:
    """Token sequences and whose they are.

    Attributes:
        ids: int32 `[n, length]`, padded on the right with the end-of-text token.
        lengths: int64 `[n]`, tokens of each sequence, its first (end-of-text) included; at least 2.
        users: int64 `[n]`, the author's number in the order of first appearance.
    """

    ids: NDArray[np.int32] = field(repr=False)
    lengths: NDArray[np.int64] = field(repr=False)
    users: NDArray[np.int64] = field(repr=False)

    def labels(self) -> NDArray[np.int64]:
        """The ids with -100 in the padding, `[n, length]`: what losses are computed on."""
        inside = np.arange(self.ids.shape[1]) < self.lengths[:, None]
        return np.where(inside, self.ids, -100).astype(np.int64)


def sequences_of(
    table: Any, digest: str, tokenizer: PreTrainedTokenizerFast, length: int, keep: bool = True
) -> Sequences:
    """All sequences of a table of posts, in its order.

    Args:
        table: a `datasets.Dataset` with the columns `user` and `text`.
        digest: names the table's content.
        tokenizer: begins each sequence with its end-of-text token.
        length: most tokens of a sequence, the first included; at least 2.
        keep: in the cache; False for texts that are not public.

    Raises:
        SottoError: if no text has a word in this vocabulary.
    """
    vocabulary = Vocabulary.of(tokenizer)
    identity = f"{_FORMAT}|{digest}|{len(table)}|{length}|{tokenizer.backend_tokenizer.to_str()}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:24]
    cache = str(private_folder("sequences") / f"{key}.arrow") if keep else None

    def tokenise(batch: dict[str, list[str]]) -> dict[str, list[Any]]:
        users: list[str] = []
        pieces: list[list[int]] = []
        encoded = tokenizer.backend_tokenizer.encode_batch(batch["text"], add_special_tokens=False)
        for user, encoding in zip(batch["user"], encoded, strict=True):
            own = cut(encoding.ids, vocabulary, length - 1)
            users += [user] * len(own)
            pieces += own
        return {"user": users, "ids": pieces}

    cut_table = table.map(
        tokenise,
        batched=True,
        remove_columns=table.column_names,
        new_fingerprint=key,
        cache_file_name=cache,
        load_from_cache_file=keep,
        keep_in_memory=not keep,
    )
    if not len(cut_table):
        raise SottoError(
            f"none of {len(table)} texts has a word as this base model's vocabulary writes words; "
            "allowed: texts in its language"
        )
    return _matrix(cut_table, tokenizer.eos_token_id, length)


def record_words(tokenizer: PreTrainedTokenizerFast, length: int) -> str:
    """One record in words: the same posts are cut into the same sequences wherever these words are equal."""
    digest = hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()[:16]
    return f"a sequence of at most {length} tokens (cut {_FORMAT}, tokenizer {digest})"


def cut(ids: list[int], vocabulary: Vocabulary, room: int) -> list[list[int]]:
    """One post's tokens as consecutive pieces of at most `room`, none without a word.

    A piece ends where it is full, at the last sentence end in its second half if there is one, else before the word
    that does not fit; only a word longer than `room` is cut itself.
    """
    pieces = []
    start = 0
    while start < len(ids):
        stop = min(len(ids), start + room)
        if stop < len(ids):
            stop = _good_end(ids, vocabulary, start, stop)
        piece = ids[start:stop]
        if any(vocabulary.is_word[token] for token in piece):
            pieces.append(piece)
        start = stop
    return pieces


def _good_end(ids: list[int], vocabulary: Vocabulary, start: int, stop: int) -> int:
    for end in range(stop, (start + stop) // 2, -1):
        if vocabulary.ends_sentence[ids[end - 1]] and not vocabulary.continues_word[ids[end]]:
            return end
    for end in range(stop, start, -1):
        if not vocabulary.continues_word[ids[end]]:
            return end
    return stop


def _matrix(table: Any, end_of_text: int, length: int) -> Sequences:
    columns = table.data.table
    flat = columns.column("ids").combine_chunks()
    values = flat.values.to_numpy(zero_copy_only=False).astype(np.int32)
    ends = flat.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(ends)
    ids = np.full((len(lengths), length), end_of_text, np.int32)
    inside = np.arange(length - 1) < lengths[:, None]
    ids[:, 1:][inside] = values[ends[0] : ends[-1]]
    names = columns.column("user").combine_chunks().dictionary_encode()
    return Sequences(ids, lengths + 1, names.indices.to_numpy().astype(np.int64))
