"""Next-word prediction: posts divided over clients by author, a causal language model with LoRA, scores on other users.

Scores are taken on test users' posts only, who are no clients. When the wanted posts are not there and the
configuration allows it, the embedded ones are used and every output names them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor

from experiments.datasets import Posts, division_words, largest_owners, load_posts, partition
from experiments.frozen_cache import FrozenCache
from experiments.language.bases import load_base
from experiments.language.next_word import NextWordScorer, score
from experiments.language.sequences import Sequences, record_words, sequences_of
from experiments.language.vocabulary import Vocabulary
from experiments.tasks.devices import device_of
from experiments.tasks.stand_ins import load_or_stand_in
from experiments.tasks.stored_sequences import FrozenStates, StoredSequences
from fl_core.adapters import attach_adapter
from fl_core.causal_lm import CausalLmLoss
from fl_core.config import RunConfig
from fl_core.frozen_prefix import frozen_prefix
from fl_core.model_digest import frozen_digest
from fl_core.task import FederatedTask, InWords, Protected
from secagg.errors import SottoError

__all__ = ["word_task"]

_LOGITS_AT_ONCE = 2**25  # values; bounds the memory of an evaluation batch
_EMBEDDED = "topics"


def word_task(config: RunConfig, on_progress: Callable[[str], None] = lambda _: None) -> FederatedTask:
    """Federated next-word prediction (the report's second experiment).

    Args:
        config: data, model, lora and engine sections.
        on_progress: told in words what takes long.

    Raises:
        SottoError: if posts or model cannot be had as configured.
    """
    posts, notes = load_or_stand_in(load_posts, config.data.name, _EMBEDDED, config.data, "no file under SOTTO_DATA")
    on_progress(f"loading {config.model.base}")
    base, tokenizer = load_base(config.model.base, config.model.quantisation)
    length = config.data.sequence_length
    positions = getattr(base.config, "max_position_embeddings", None) or length
    if length > positions:
        raise SottoError(
            f"data.sequence_length is {length}; allowed: 2 to {positions}, the positions of {config.model.base}"
        )
    keep = posts.source != "folder"
    on_progress("tokenising the posts, or reading them from the cache" if keep else "tokenising the texts")
    train = sequences_of(posts.train, posts.digest + "train", tokenizer, length, keep)
    test = sequences_of(posts.test, posts.digest + "test", tokenizer, length, keep)
    record = record_words(tokenizer, length)
    clients, client = _clients(train, config, notes, record)
    device = device_of(config.engine.device)
    frozen = config.engine.keep_features and config.model.quantisation == "none"
    # Before the adapter is there: it changes the names of the layers it sits on.
    weights = frozen_digest(base.requires_grad_(False)) if frozen else ""
    model = attach_adapter(base, config.lora).to(device)
    rows = np.sort(np.concatenate(clients))
    prefix = frozen_prefix(model) if frozen else None
    states = FrozenStates(prefix, model, weights, FrozenCache(config.engine, on_progress), device)
    some = _evaluation_rows(len(test.ids), config.data.test_sequences, config.data.seed)
    stored = StoredSequences(train, rows, states, device)
    public = StoredSequences(test, np.arange(len(test.ids)), states, device)
    scorer = NextWordScorer(Vocabulary.of(tokenizer), device)

    def evaluate(chosen: NDArray[np.int64]) -> Callable[[PeftModel], dict[str, float]]:
        def run(peft_model: PeftModel) -> dict[str, float]:
            peft_model.eval()
            size = max(1, _LOGITS_AT_ONCE // (length * len(tokenizer)))
            with torch.no_grad():
                return score(scorer, lambda inputs: _logits(peft_model, inputs), public.batches(chosen, size))

        return run

    return FederatedTask(
        name=posts.name,
        model=model,
        clients=clients,
        batch=stored.batch,
        loss=CausalLmLoss(),
        evaluate=evaluate(some),
        evaluate_whole=evaluate(np.arange(len(test.ids))),
        source=f"{posts.name} ({posts.source})",
        notes=(*notes, *([posts.note] if posts.note else [])),
        # A folder may hold anything under its name, and a digest of it would tell of its posts.
        protected=Protected("" if posts.source == "folder" else posts.name, record, client),
        in_words=_in_words(posts, length, len(rows), len(clients)),
    )


def _in_words(posts: Posts, length: int, records: int, clients: int) -> InWords:
    """Averages and numbers of test users only: how much a client holds is its own affair."""
    return InWords(
        learns=f"to predict the next word of {posts.name}",
        record=f"a piece of at most {length} tokens of a text: a longer text is several records, and a client holds "
        f"{records / clients:,.0f} of them on average",
        scored_on=(
            f"texts of {len(posts.test.unique('user')):,} held-out users, scored without noise"
            if posts.source == "folder"
            else f"public texts of {len(posts.test.unique('user')):,} users who are no clients"
        ),
        about=posts.note,
    )


def _logits(model: PeftModel, inputs: dict[str, Tensor]) -> Tensor:
    logits: Tensor = model(**inputs).logits
    return logits


def _clients(
    train: Sequences, config: RunConfig, notes: list[str], record: str
) -> tuple[tuple[NDArray[np.int64], ...], str]:
    """Each client's sequences, and what they are in words; the pool is that of the natural division in every scheme.

    A stand-in (`notes` say so) with fewer users than clients is divided evenly, which is noted too.
    """
    clients, data = config.federation.clients, config.data
    users = int(train.users.max()) + 1
    if notes and users < clients:
        notes.append(f"its {users} users are fewer than {clients} clients: sequences were divided evenly instead")
        divided = division_words("iid", clients, data.alpha, data.seed)
        return partition(
            train.users, clients, "iid", data.alpha, data.seed
        ), f"a client's part of all ({record}, {divided})"
    natural = largest_owners(train.users, clients)
    if data.partition == "natural":
        return natural, "a user"
    pool = np.sort(np.concatenate(natural))
    parts = partition(train.users[pool], clients, data.partition, data.alpha, data.seed)
    divided = division_words(data.partition, clients, data.alpha, data.seed)
    return tuple(pool[part] for part in parts), f"a client's part of the largest users' ({record}, {divided})"


def _evaluation_rows(test: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """The test sequences that are scored while rounds run: fixed by the public seed."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return np.sort(generator.permutation(test)[: min(test, wanted)]).astype(np.int64)
