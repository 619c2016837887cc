"""The clipped gradient sum equals autograd one sample at a time, for every layer that PEFT makes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from fl_core.adapters import flat_adapter, load_flat_adapter, trainable_parameters
from fl_core.private_gradient import PrivateGradient, forward
from secagg.errors import SottoError


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.conv = nn.Conv2d(2, 3, 3, padding=1, stride=2)
        self.inner = nn.Linear(6, 5)
        self.fc = nn.Linear(5 + 12, 4)

    def forward(self, ids, images):
        words = torch.tanh(self.inner(self.embed(ids))).mean(1)
        pixels = torch.relu(self.conv(images)).flatten(1)
        return self.fc(torch.cat([words, pixels], 1))


def adapted(targets, base=None, **options):
    torch.manual_seed(0)
    model = get_peft_model(base or Network(), LoraConfig(r=2, lora_alpha=3, target_modules=targets, **options))
    # PEFT starts with B = 0, which hides every error in A's gradient.
    theta = flat_adapter(model)
    load_flat_adapter(model, torch.randn(len(theta), generator=torch.Generator().manual_seed(1)) * 0.3)
    return model


def batch(b=5):
    g = torch.Generator().manual_seed(2)
    return {
        "ids": torch.randint(0, 11, (b, 4), generator=g),
        "images": torch.randn(b, 2, 4, 4, generator=g),
    }


LABELS = torch.tensor([0, 3, 1, 2, 2, 0, 1])


def loss_fn(output, inputs):
    return F.cross_entropy(output, LABELS[: len(output)], reduction="none")


def one_by_one(model, inputs, loss, clip):
    """Independent reference: autograd for each sample, float64 clipping."""
    size = len(next(iter(inputs.values())))
    parameters = [p for _, p in trainable_parameters(model)]
    total = torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64)
    norms = []
    for i in range(size):
        grads = torch.autograd.grad(loss(forward(model, inputs), inputs)[i], parameters)
        flat = torch.cat([grad.flatten() for grad in grads]).double()
        norms.append(flat.norm())
        total += flat * min(1.0, clip / float(flat.norm()))
    return total, torch.stack(norms)


@pytest.mark.parametrize(
    "targets", [["fc"], ["inner"], ["conv"], ["embed"], ["embed", "conv", "inner", "fc"]], ids="+".join
)
@pytest.mark.parametrize("clip", [0.1, 100.0])
def test_equals_autograd_one_sample_at_a_time(targets, clip):
    model = adapted(targets)
    got = PrivateGradient(model, clip_norm=clip)(batch(), loss_fn)
    want, norms = one_by_one(model, batch(), loss_fn, clip)
    torch.testing.assert_close(got.total.double(), want, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(got.norms, norms, rtol=1e-4, atol=1e-6)
    assert got.clipped == int((norms > clip).sum())


def gpt2(targets, checkpointing=False):
    torch.manual_seed(0)
    base = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=31,
            n_positions=16,
            n_embd=12,
            n_layer=2,
            n_head=2,
            attn_pdrop=0,
            embd_pdrop=0,
            resid_pdrop=0,
        )
    )
    if checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base.enable_input_require_grads()
    return adapted(targets, base, fan_in_fan_out=True)


def causal_loss(output, inputs):
    """Mean over each sequence's own real tokens: a per-sample function, unlike `labels=`."""
    ids, mask = inputs["input_ids"][:, 1:], inputs["attention_mask"][:, 1:].float()
    token = F.cross_entropy(output.logits[:, :-1].transpose(1, 2).float(), ids, reduction="none")
    return (token * mask).sum(1) / mask.sum(1)


def sequences():
    g = torch.Generator().manual_seed(3)
    mask = torch.ones(4, 8, dtype=torch.int64)
    mask[1, 5:] = 0
    mask[3, 3:] = 0
    return {"input_ids": torch.randint(0, 31, (4, 8), generator=g), "attention_mask": mask}


@pytest.mark.parametrize("targets", [["c_attn"], ["c_attn", "c_proj", "c_fc"]], ids="+".join)
def test_gpt2_conv1d_with_padding_equals_autograd(targets):
    model = gpt2(targets)
    got = PrivateGradient(model, clip_norm=0.5)(sequences(), causal_loss)
    want, _ = one_by_one(model, sequences(), causal_loss, 0.5)
    torch.testing.assert_close(got.total.double(), want, rtol=1e-4, atol=1e-6)


def test_gradient_checkpointing_changes_nothing():
    plain = PrivateGradient(gpt2(["c_attn"]), clip_norm=0.5)(sequences(), causal_loss)
    model = gpt2(["c_attn"], checkpointing=True)
    model.train()
    saved = PrivateGradient(model, clip_norm=0.5)(sequences(), causal_loss)
    torch.testing.assert_close(saved.total, plain.total)


def test_bfloat16_models_give_float32_gradients_close_to_autograd():
    model = gpt2(["c_attn"]).to(torch.bfloat16)
    got = PrivateGradient(model, clip_norm=0.5)(sequences(), causal_loss)
    want, _ = one_by_one(model, sequences(), causal_loss, 0.5)
    assert got.total.dtype == torch.float32
    assert float((got.total.double() - want).norm() / want.norm()) < 0.02


def test_integer_mode_is_the_float_sum_on_the_grid():
    model = adapted(["fc", "conv"])
    floats = PrivateGradient(model, clip_norm=0.5)(batch(), loss_fn)
    steps = PrivateGradient(model, clip_norm=0.5, scale=2**24)(batch(), loss_fn)
    assert steps.total.dtype == torch.int64
    torch.testing.assert_close(steps.total.double() / 2**24, floats.total.double(), rtol=1e-4, atol=1e-5)


def test_segments_are_the_clients_own_sums():
    model = adapted(["fc"])
    gradient = PrivateGradient(model, clip_norm=0.5, scale=2**20)
    segments = torch.tensor([2, 0, 2, 2, 0])
    got = gradient(batch(), loss_fn, segments, 3)
    assert got.total.shape == (3, gradient.length)
    assert not got.total[1].any()
    whole = gradient(batch(), loss_fn)
    assert torch.equal(got.total.sum(0), whole.total)


def test_a_sample_with_nan_contributes_exactly_zero_and_is_counted():
    model = adapted(["fc", "conv"])
    gradient = PrivateGradient(model, clip_norm=0.5, scale=2**20)
    clean = batch()
    dirty = {**clean, "images": clean["images"].clone()}
    dirty["images"][4] = float("nan")
    rest = {key: value[:4] for key, value in clean.items()}
    got = gradient(dirty, loss_fn)
    assert got.nonfinite == 1
    assert int((got.total - gradient(rest, loss_fn).total).abs().max()) <= 4


def test_an_empty_batch_gives_zeros():
    model = adapted(["fc"])
    got = PrivateGradient(model, clip_norm=1.0, scale=2**10)(batch(0), loss_fn, torch.zeros(0, dtype=torch.int64), 2)
    assert got.total.shape == (2, len(flat_adapter(model)))
    assert not got.total.any()


def test_parameter_gradients_are_left_as_they_were():
    model = adapted(["fc"])
    PrivateGradient(model, clip_norm=1.0)(batch(), loss_fn)
    assert all(p.grad is None for p in model.parameters())


def test_a_trainable_parameter_without_a_rule_is_refused():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    with pytest.raises(SottoError, match="1.weight has no per-sample rule"):
        PrivateGradient(model, clip_norm=1.0)


def test_a_layer_that_did_not_run_is_refused():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.used(x)

    gradient = PrivateGradient(Skips(), clip_norm=1.0)
    with pytest.raises(SottoError, match="unused.weight"):
        gradient(torch.randn(2, 3), lambda output, _: output.sum(1))


def test_a_loss_that_is_not_per_sample_is_refused():
    gradient = PrivateGradient(adapted(["fc"]), clip_norm=1.0)
    with pytest.raises(SottoError, match="one loss per sample"):
        gradient(batch(), lambda output, inputs: loss_fn(output, inputs).mean())


def test_a_model_without_trainable_parameters_is_refused():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(SottoError, match="no trainable parameter"):
        PrivateGradient(model, clip_norm=1.0)
