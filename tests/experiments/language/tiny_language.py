"""A vocabulary and models small enough for tests, made from Python's own documentation."""

from __future__ import annotations

from functools import cache

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from experiments.datasets import load_posts
from experiments.language.tokenizer import train_bpe


@cache
def posts():
    return load_posts("topics")


@cache
def tokenizer(vocabulary=500):
    return train_bpe(posts().train["text"][:400], vocabulary)


def model(layers=3, width=16, heads=2, seed=0, vocabulary=None, positions=32):
    size = vocabulary or len(tokenizer())
    config = GPT2Config(
        vocab_size=size,
        n_positions=positions,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(seed)
    made = GPT2LMHeadModel(config).eval()
    with torch.no_grad():  # far from uniform, so that greedy decoding takes different ways
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    return made


def save(folder, **shape):
    made = model(**shape)
    made.save_pretrained(str(folder))
    tokenizer().save_pretrained(str(folder))
    return folder
