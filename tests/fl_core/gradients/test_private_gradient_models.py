"""The private gradient of real architectures equals autograd one sample at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fl_core.adapters import flat_adapter
from fl_core.gradients.private_gradient import PrivateGradient
from kernels.backend import kernel_backend
from secagg.errors import SottoError
from tests.fl_core.lora_models import lora_model, one_by_one
from tests.fl_core.small_models import CASES, build, causal_loss, llama, sequences

# The interpreter is slow: one or two layers of each.
SMALL = ["gpt2 c_attn", "llama all linear", "opt, whose fc sees rows of all samples", "bert", "cnn"]


@pytest.mark.parametrize("rank", [1, 4, 16])
@pytest.mark.parametrize("case", [name for name in CASES if "wte" not in name])
def test_equals_autograd_to_1e_5(case, rank):
    model, inputs, loss = build(case, rank=rank)
    want, norms = one_by_one(model, inputs, loss, 0.5)
    got = PrivateGradient(model, clip_norm=0.5)(inputs, loss)
    assert float((got.total.double() - want).norm() / want.norm()) < 1e-5
    torch.testing.assert_close(got.norms, norms, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("scale", [None, 2**24])
@pytest.mark.parametrize("case", SMALL)
def test_triton_kernels_give_the_same(case, scale):
    model, inputs, loss = build(case, rank=4)
    clients = torch.arange(len(next(iter(inputs.values())))) // 2
    want = PrivateGradient(model, 0.5, scale)(inputs, loss, clients)
    with kernel_backend("triton"):
        got = PrivateGradient(model, 0.5, scale)(inputs, loss, clients)
    torch.testing.assert_close(got.norms, want.norms, rtol=1e-5, atol=1e-9)
    gap = (got.total - want.total).double().norm() / want.total.double().norm()
    assert float(gap) < 1e-5
    assert got.clipped == want.clipped


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(reentrant):
    model, inputs, loss = build("gpt2 c_attn")
    plain = PrivateGradient(model, clip_norm=0.5)(inputs, loss)
    base = model.get_base_model()
    base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
    base.enable_input_require_grads()
    model.train()
    saved = PrivateGradient(model, clip_norm=0.5)(inputs, loss)
    torch.testing.assert_close(saved.total, plain.total)


@pytest.mark.parametrize("adapter_dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("case", ["gpt2 c_attn", "llama all linear"])
def test_bfloat16_models_are_as_near_the_truth_as_their_own_autograd(case, adapter_dtype):
    model, inputs, loss = build(case)
    model = model.to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(adapter_dtype)
    own, _ = one_by_one(model, inputs, loss, 0.5)
    got = PrivateGradient(model, clip_norm=0.5)(inputs, loss)
    assert got.total.dtype == torch.float32
    truth, _ = one_by_one(model.double(), inputs, loss, 0.5)
    error, own_error = (float((value.double() - truth).norm() / truth.norm()) for value in (got.total, own))
    assert error < 1.25 * own_error + 0.005
    assert error < 0.03


def test_float64_models_keep_their_precision():
    model, inputs, loss = build("llama all linear")
    model = model.double()
    want, _ = one_by_one(model, inputs, loss, 0.5)
    got = PrivateGradient(model, clip_norm=0.5)(inputs, loss)
    assert got.total.dtype == torch.float64
    assert float((got.total - want).norm() / want.norm()) < 1e-5  # the clip factor's margin is 4e-6


def test_position_embeddings_shared_by_all_samples_are_refused():
    model, inputs, loss = build("gpt2 all, wte and head")
    with pytest.raises(SottoError, match=r"wpe sees 1 rows for 2 samples"):
        PrivateGradient(model, clip_norm=0.5)(inputs, loss)


def test_several_ranks_and_scalings_in_one_adapter():
    torch.manual_seed(0)
    model = lora_model(
        llama(), ["q_proj", "down_proj"], rank_pattern={"down_proj": 5}, alpha_pattern={"q_proj": 7}, use_rslora=True
    )
    want, _ = one_by_one(model, sequences(), causal_loss, 0.5)
    got = PrivateGradient(model, clip_norm=0.5)(sequences(), causal_loss)
    assert float((got.total.double() - want).norm() / want.norm()) < 1e-5


def test_convolutions_of_every_geometry():
    class Convolutions(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Conv2d(2, 4, 3, padding="same")
            self.two = nn.Conv2d(4, 6, (2, 3), stride=(2, 1), padding=(1, 0), groups=2)
            self.three = nn.Conv2d(6, 3, 2, padding="valid")

        def forward(self, x):
            return torch.tanh(self.three(torch.tanh(self.two(torch.tanh(self.one(x)))))).flatten(1)

    model = lora_model(Convolutions(), ["one", "two", "three"])
    inputs = {"x": torch.randn(3, 2, 7, 8, generator=torch.Generator().manual_seed(1))}

    def loss(output, _):
        return output.square().mean(1)

    want, _ = one_by_one(model, inputs, loss, 0.01)
    got = PrivateGradient(model, clip_norm=0.01)(inputs, loss)
    assert len(flat_adapter(model)) == len(got.total)
    assert float((got.total.double() - want).norm() / want.norm()) < 1e-5
