"""Tokenizers: GPT-2's own, one from a folder, or a byte-level BPE trained on the text at hand.

Byte-level BPE (Sennrich, Haddow, Birch 2016; over bytes as in GPT-2, Radford et al. 2019) can write any text, so
nothing is ever out of its vocabulary. `<|endoftext|>` separates documents and begins every sequence.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerFast

from experiments.datasets.data_root import data_root
from experiments.datasets.hub import HubUnavailable, only_from_cache
from fl_core.first_line import first_line
from secagg.errors import SottoError

__all__ = ["END_OF_TEXT", "load_tokenizer", "train_bpe"]

END_OF_TEXT = "<|endoftext|>"
_GPT2_FOLDER = "gpt2-tokenizer"


def train_bpe(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `vocabulary` entries, or fewer if the texts have too few pairs to merge.

    Splits as GPT-2 does; deterministic in the texts.

    Raises:
        SottoError: if the vocabulary cannot hold all bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary < len(alphabet) + 1:
        raise SottoError(f"tokenizer.vocabulary is {vocabulary}; allowed: {len(alphabet) + 1} or more (all bytes)")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return _fast(tokenizer)


def load_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """`gpt2` (files under `SOTTO_DATA`, else the hub's), or the tokenizer in a folder or hub repository.

    Raises:
        SottoError: if it is not there, is no fast tokenizer, or has no end-of-text token.
    """
    files = data_root()[0] / _GPT2_FOLDER
    if name == "gpt2" and (files / "vocab.json").is_file() and (files / "merges.txt").is_file():
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        _check_vocabulary(files / "vocab.json")
        try:
            tokenizer = Tokenizer(models.BPE.from_file(str(files / "vocab.json"), str(files / "merges.txt")))
        except Exception as error:  # what the library raises for files that are wrong
            raise SottoError(f"tokenizer {name} in {files} cannot be loaded: {first_line(error)}") from None
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        return _fast(tokenizer)
    try:
        local = Path(name).is_dir() or only_from_cache(name, "tokenizer.json", "tokenizer_config.json")
    except HubUnavailable as error:
        raise SottoError(
            f"tokenizer {name} is no folder, neither {files} nor the hub's local cache holds it, and the hub cannot be "
            f"used: {error}"
        ) from None
    try:
        loaded = AutoTokenizer.from_pretrained(name, local_files_only=local)
    except Exception as error:  # the hub client's and transformers' errors share no base class
        raise SottoError(f"tokenizer {name} cannot be loaded: {first_line(error)}") from None
    if not isinstance(loaded, PreTrainedTokenizerFast):
        raise SottoError(f"tokenizer {name} is a {type(loaded).__name__}; allowed: fast tokenizers (tokenizer.json)")
    if isinstance(loaded.model_max_length, bool) or not isinstance(loaded.model_max_length, int | float):
        raise SottoError(f"tokenizer {name} has a model_max_length that is no number")
    if loaded.eos_token_id is None:
        raise SottoError(f"tokenizer {name} has no end-of-text token (eos_token), which separates documents")
    return loaded


def _fast(tokenizer: object) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END_OF_TEXT, eos_token=END_OF_TEXT, unk_token=END_OF_TEXT
    )


def _check_vocabulary(path: Path) -> None:
    """Refuse a vocabulary whose ids are not 0, 1, ...: the library sets memory aside up to the largest."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        dense = isinstance(found, dict) and all(type(number) is int for number in found.values())
        dense = dense and sorted(found.values()) == list(range(len(found))) and len(found) > 0
    except (OSError, ValueError, RecursionError):
        dense = False
    if not dense:
        raise SottoError(f"tokenizer: {path} is no vocabulary; allowed: a JSON object of tokens and ids 0, 1, 2, ...")
