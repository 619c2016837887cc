"""Clients with few records on small models, trained together and each alone."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from experiments.models import Cnn, CnnConfig
from fl_core.adapters import flat_adapter, load_flat_adapter
from fl_core.causal_lm import CausalLmLoss
from fl_core.config import ClientConfig
from fl_core.local_training import local_updates
from fl_core.task import FederatedTask
from secagg.randomness import Keystream
from tests.fl_core.lora_models import lora_model
from tests.fl_core.one_client import alone
from tests.fl_core.small_models import VOCABULARY, gpt2, llama, opt

# More and fewer records than a batch, none, one, and several short last batches.
SIZES = (9, 0, 4, 1, 13, 0, 6, 3, 2)
CONFIG = ClientConfig(steps=5, batch_size=4, learning_rate=0.1)
TOGETHER = 20


def clients_of(sizes):
    return tuple(np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1]))


def task_of(model, batch, loss, sizes=SIZES):
    return FederatedTask("made up", model, clients_of(sizes), batch, loss, lambda _: {}, "made up")


def tame(model):
    """A tenth of the adapter: with all of it several steps multiply float32's rounding a hundredfold, anybody's."""
    load_flat_adapter(model, 0.1 * flat_adapter(model))
    return model


def image_task(targets, **options):
    g = torch.Generator().manual_seed(2)
    images, labels = torch.randn(sum(SIZES), 1, 8, 8, generator=g), torch.randint(0, 10, (sum(SIZES),), generator=g)
    torch.manual_seed(0)
    model = tame(lora_model(Cnn(CnnConfig.for_images((8, 8))), targets, **options))

    def batch(records):
        return images[records], labels[records]

    return task_of(model, batch, lambda output, inputs: F.cross_entropy(output, inputs[1], reduction="none"))


def word_task(make, targets, loss=None, **options):
    g = torch.Generator().manual_seed(2)
    ids = torch.randint(0, VOCABULARY, (sum(SIZES), 8), generator=g)
    mask = (torch.arange(8) < torch.randint(2, 9, (len(ids), 1), generator=g)).long()
    labels = ids.masked_fill(mask == 0, -100)
    torch.manual_seed(0)
    model = tame(lora_model(make(), targets, **options))

    def batch(records):
        return {"input_ids": ids[records], "attention_mask": mask[records], "labels": labels[records]}

    return task_of(model, batch, loss or CausalLmLoss())


def plain_loss(output, inputs):
    return CausalLmLoss()(output, inputs)


CASES = {
    "cnn fc": lambda: image_task(["fc"]),
    "cnn, all": lambda: image_task(["conv1", "conv2", "fc"]),
    "gpt2": lambda: word_task(gpt2, ["c_attn", "c_proj", "c_fc"], fan_in_fan_out=True),
    "gpt2 with tokens and positions": lambda: word_task(gpt2, ["c_attn", "wte", "wpe"], fan_in_fan_out=True),
    "gpt2 from whole logits": lambda: word_task(gpt2, ["c_attn"], plain_loss, fan_in_fan_out=True),
    "gpt2 with an adapted head": lambda: word_task(gpt2, ["c_attn", "lm_head"]),
    "llama": lambda: word_task(llama, "all-linear"),
    "llama with tokens": lambda: word_task(llama, ["q_proj", "embed_tokens"]),
    "opt, whose fc sees rows of all samples": lambda: word_task(opt, ["q_proj", "fc1", "fc2"]),
}


def streams_of(clients):
    return [Keystream.seeded(0).child(client) for client in clients]


def together(task, config=CONFIG, samples=TOGETHER, clients=None):
    clients = range(len(task.clients)) if clients is None else clients
    records = [task.clients[client] for client in clients]
    return local_updates(task, flat_adapter(task.model), records, config, streams_of(clients), samples)


def each_alone(task, config=CONFIG):
    theta = flat_adapter(task.model)
    streams = streams_of(range(len(task.clients)))
    return torch.stack(
        [alone(task, theta, own, config, stream) for own, stream in zip(task.clients, streams, strict=True)]
    )


def assert_close(got, want):
    """Within 1e-5 of each update's norm."""
    for mine, theirs in zip(got.double(), want.double(), strict=True):
        assert float((mine - theirs).norm()) <= 1e-5 * float(theirs.norm())


def vector_task(base, targets, loss):
    torch.manual_seed(0)
    x = torch.randn(sum(SIZES), 5)
    return task_of(lora_model(base, targets), lambda records: x[records], loss)


def squares(output, _):
    return output.square().sum(1)
