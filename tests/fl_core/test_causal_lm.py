"""The causal language-model loss is each sequence's own, with and without logits."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from transformers import Gemma2Config, Gemma2ForCausalLM

from fl_core.adapters import trainable_parameters
from fl_core.causal_lm import CausalLmLoss
from fl_core.gradients.private_gradient import PrivateGradient
from kernels.backend import kernel_backend
from secagg.errors import SottoError
from tests.fl_core.lora_models import lora_model, one_by_one
from tests.fl_core.small_models import build, gpt2, llama, opt, sequences

CAUSAL = ["gpt2 c_attn", "llama all linear", "opt, whose fc sees rows of all samples"]


def by_hand(model, inputs, labels):
    """Loop over sequences and positions."""
    logits = model(**inputs).logits
    losses = []
    for row, wanted in zip(logits, labels, strict=True):
        tokens = [F.cross_entropy(row[i], wanted[i + 1]) for i in range(len(row) - 1) if wanted[i + 1] != -100]
        losses.append(torch.stack(tokens).mean() if tokens else row.sum() * 0)
    return torch.stack(losses)


@pytest.mark.parametrize("case", CAUSAL)
@pytest.mark.parametrize("side", ["right", "left"])
def test_losses_and_gradients_with_padding_are_each_sequences_own(case, side):
    model, inputs, _ = build(case)
    if side == "left":
        inputs = {key: value.flip(1) for key, value in inputs.items()}
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    want = by_hand(model, inputs, labels)
    parameters = [p for _, p in trainable_parameters(model)]
    want_grads = torch.autograd.grad(want.sum(), parameters)
    loss = CausalLmLoss(chunk=5)
    torch.testing.assert_close(loss(model(**inputs), inputs), want, rtol=1e-5, atol=1e-5)
    got = loss.of_model(model, inputs)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(torch.autograd.grad(got.sum(), parameters), want_grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [gpt2, llama, opt])
def test_bare_models_with_tied_and_untied_heads_give_their_own_gradients(make):
    torch.manual_seed(0)
    model = make().eval()
    labels = sequences()["input_ids"]
    inputs = {"input_ids": labels, "labels": labels}
    want = by_hand(model, {"input_ids": labels}, labels)
    want_grads = torch.autograd.grad(want.sum(), list(model.parameters()), allow_unused=True)
    got = CausalLmLoss(chunk=3).of_model(model, inputs)
    got_grads = torch.autograd.grad(got.sum(), list(model.parameters()), allow_unused=True)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(got_grads, want_grads, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_explicit_labels_are_used_and_all_ignored_gives_zero():
    model, inputs, _ = build("llama all linear")
    labels = inputs["input_ids"].clone()
    labels[0, :4] = -100
    labels[2] = -100
    got = CausalLmLoss().of_model(model, {**inputs, "labels": labels})
    torch.testing.assert_close(got, by_hand(model, inputs, labels), rtol=1e-5, atol=1e-5)
    assert float(got[2].detach()) == 0


@pytest.mark.parametrize("case", CAUSAL)
@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_the_private_gradient_runs_it(case, backend):
    model, inputs, _ = build(case)
    want, _ = one_by_one(model, inputs, CausalLmLoss(), 0.5)
    with kernel_backend(backend):
        got = PrivateGradient(model, clip_norm=0.5)(inputs, CausalLmLoss(chunk=7))
    assert float((got.total.double() - want).norm() / want.norm()) < 1e-5


def softcapped():
    config = Gemma2Config(
        vocab_size=31,
        hidden_size=12,
        intermediate_size=20,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=6,
        final_logit_softcapping=2.0,
    )
    torch.manual_seed(0)
    return Gemma2ForCausalLM(config).eval()


def test_a_model_that_changes_its_logits_after_the_head_is_computed_from_logits_and_says_so_once():
    model = softcapped()
    inputs = sequences()
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    with pytest.warns(UserWarning, match="soft-capping or scaling"):
        got = CausalLmLoss().of_model(model, inputs)
    torch.testing.assert_close(got, by_hand(model, inputs, labels), rtol=1e-5, atol=1e-5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CausalLmLoss().of_model(model, inputs)


def test_a_head_with_an_adapter_of_its_own_is_computed_from_logits():
    torch.manual_seed(0)
    model = lora_model(llama(), ["lm_head"]).eval()
    inputs = sequences()
    want, _ = one_by_one(model, inputs, CausalLmLoss(), 0.5)
    got = PrivateGradient(model, clip_norm=0.5)(inputs, CausalLmLoss())
    assert float((got.total.double() - want).norm() / want.norm()) < 1e-5


def test_the_head_is_put_back_when_the_model_fails():
    model, inputs, _ = build("llama all linear")
    CausalLmLoss().of_model(model, inputs)
    head = model.get_output_embeddings()
    with pytest.raises(IndexError):
        CausalLmLoss().of_model(model, {**inputs, "input_ids": inputs["input_ids"] + 1000})
    assert "forward" not in head.__dict__


def test_a_batch_without_ids_is_refused():
    model, _, _ = build("llama all linear")
    with pytest.raises(SottoError, match="needs input_ids"):
        CausalLmLoss().of_model(model, {"tokens": torch.zeros(1, 2)})


@pytest.mark.parametrize("logits", [True, False])
def test_the_sum_is_the_mean_times_each_sequences_own_tokens_and_nothing_else_is_taken_for_the_mean(logits):
    model, inputs, _ = build("llama all linear")
    tokens = inputs["attention_mask"][:, 1:].sum(1)
    means, sums = (
        loss(model(**inputs), inputs) if logits else loss.of_model(model, inputs)
        for loss in (CausalLmLoss(), CausalLmLoss("sum"))
    )
    torch.testing.assert_close(sums, means * tokens)
    with pytest.raises(SottoError, match="reduction is 'none'; allowed: 'mean', 'sum'"):
        CausalLmLoss("none")
