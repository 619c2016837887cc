"""Public text as tokens, made once: a vocabulary, a training stream and a held-out stream.

Takes a recipe's text and tokenizer sections; gives a `Corpus`. Held-out documents are never trained on, not even
by the tokenizer.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from experiments.language.packing import token_stream
from experiments.language.recipe import PretrainingRecipe
from experiments.language.text_sources import TextSource, held_out, read_documents
from experiments.language.tokenizer import load_tokenizer, train_bpe
from secagg.errors import SottoError

__all__ = ["Corpus", "make_corpus"]


@dataclass(frozen=True)
class Corpus:
    """Token streams, documents separated by the end-of-text token.

    Attributes:
        train: int32 `[n]`, all sources one after another, then once more those that the recipe repeats.
        held_out: int32 `[m]`.
        held_out_characters: of the held-out documents.
        once: how many tokens of `train` are all sources once, without repetitions.
    """

    train: NDArray[np.int32]
    held_out: NDArray[np.int32]
    held_out_characters: int
    once: int

    def save(self, path: Path) -> None:
        """Write the streams to a `.npz` file."""
        with path.open("wb") as handle:
            numbers = np.array([self.held_out_characters, self.once])
            np.savez(handle, train=self.train, held_out=self.held_out, numbers=numbers)

    @staticmethod
    def load(path: Path) -> Corpus:
        """Read what `save` wrote.

        Raises:
            ValueError: for arrays of another kind, or packed ones: those may be any number of times the file's size.
            OSError, LookupError, TypeError, MemoryError, zipfile.BadZipFile: for other damage.
        """
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("it is packed")
        with np.load(path) as stored:
            train, held_out, numbers = (stored[name] for name in ("train", "held_out", "numbers"))
        if not all(isinstance(array, np.ndarray) for array in (train, held_out, numbers)):
            raise ValueError("it holds something that is no array")
        if {(array.dtype, array.ndim) for array in (train, held_out)} != {(np.dtype(np.int32), 1)}:
            raise ValueError("its tokens are no lists of whole numbers")
        if numbers.shape != (2,) or numbers.dtype.kind != "i" or not 0 <= numbers[1] <= len(train):
            raise ValueError("its counts are none")
        return Corpus(train, held_out, *map(int, numbers))


def make_corpus(
    recipe: PretrainingRecipe, on_progress: Callable[[str], None]
) -> tuple[Corpus, PreTrainedTokenizerFast]:
    """Read the text, train or load the tokenizer, encode everything.

    Raises:
        SottoError: if text or tokenizer cannot be had, or either stream would be empty.
    """
    sources, percent = recipe.text.sources, recipe.text.held_out_percent

    def training() -> Iterator[str]:
        for source in sources:
            yield from _kept(source, percent, False)

    if recipe.tokenizer.name is None:
        on_progress(f"training a vocabulary of {recipe.tokenizer.vocabulary:,}")
        tokenizer = train_bpe(training(), recipe.tokenizer.vocabulary)
    else:
        tokenizer = load_tokenizer(recipe.tokenizer.name)
    streams, kept, characters = [], [], 0
    for source in sources:
        on_progress(f"tokenising {source.path}")
        streams.append(token_stream(_kept(source, percent, False), tokenizer))
        documents = list(_kept(source, percent, True))
        kept.append(token_stream(documents, tokenizer))
        characters += sum(map(len, documents))
    again = [s for stream, source in zip(streams, sources, strict=True) for s in [stream] * (source.repeat - 1)]
    once = sum(map(len, streams))
    corpus = Corpus(np.concatenate([*streams, *again]), np.concatenate(kept), characters, once)
    if len(corpus.train) == 0 or len(corpus.held_out) < 2:
        raise SottoError(
            f"text.sources give {len(corpus.train)} tokens to train on and {len(corpus.held_out)} held out; both are "
            f"needed: add text or change text.held_out_percent ({percent})"
        )
    return corpus, tokenizer


def _kept(source: TextSource, percent: float, out: bool) -> Iterator[str]:
    return (document for document in read_documents(source) if held_out(document, percent) == out)
