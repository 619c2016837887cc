"""Small adapted models of real architectures, each with inputs and a loss of each sample alone."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
)

from experiments.models import Cnn, CnnConfig
from tests.fl_core.lora_models import lora_model

VOCABULARY = 31


def gpt2():
    no_dropout = {"attn_pdrop": 0, "embd_pdrop": 0, "resid_pdrop": 0}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=12, n_layer=2, n_head=2, **no_dropout)
    )


def llama():
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=12,
            intermediate_size=20,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
        )
    )


def opt():
    return OPTForCausalLM(
        OPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=12,
            ffn_dim=20,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            word_embed_proj_dim=12,
            dropout=0.0,
        )
    )


def bert():
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=12,
            intermediate_size=20,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            num_labels=3,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


def causal_loss(output, inputs):
    """Mean over each sequence's own real tokens: a per-sample function, unlike `labels=`."""
    ids, mask = inputs["input_ids"][:, 1:], inputs["attention_mask"][:, 1:].float()
    token = F.cross_entropy(output.logits[:, :-1].transpose(1, 2).float(), ids, reduction="none")
    return (token * mask).sum(1) / mask.sum(1)


def class_loss(output, inputs):
    return F.cross_entropy(output.logits, inputs["input_ids"][:, 0] % 3, reduction="none")


def image_loss(output, inputs):
    return F.cross_entropy(output, inputs["images"].flatten(1).sum(1).long().abs() % 10, reduction="none")


def sequences():
    g = torch.Generator().manual_seed(3)
    mask = torch.ones(4, 8, dtype=torch.int64)
    mask[1, 5:] = 0
    mask[3, 3:] = 0
    return {"input_ids": torch.randint(0, VOCABULARY, (4, 8), generator=g), "attention_mask": mask}


def images():
    return {"images": torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(4))}


CASES = {
    "gpt2 c_attn": (gpt2, ["c_attn"], causal_loss, {"fan_in_fan_out": True}),
    "gpt2 all, wte and head": (
        gpt2,
        ["c_attn", "c_proj", "c_fc", "wte", "wpe"],
        causal_loss,
        {"fan_in_fan_out": True},
    ),
    "llama all linear": (llama, "all-linear", causal_loss, {}),
    "llama with embeddings and head": (llama, ["q_proj", "embed_tokens", "lm_head"], causal_loss, {}),
    "opt, whose fc sees rows of all samples": (opt, ["q_proj", "v_proj", "fc1", "fc2"], causal_loss, {}),
    "bert": (bert, ["query", "value", "dense"], class_loss, {}),
    "cnn": (lambda: Cnn(CnnConfig.for_images((8, 8))), ["conv1", "conv2", "fc"], image_loss, {}),
}


def build(case, **options):
    make, targets, loss, own = CASES[case]
    torch.manual_seed(0)
    model = lora_model(make(), targets, **own, **options)
    return model.eval(), images() if case == "cnn" else sequences(), loss
