"""The clipped gradient sum equals autograd one sample at a time, for every layer that PEFT makes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fl_core.adapters import flat_adapter, trainable_parameters
from fl_core.gradients.private_gradient import PrivateGradient
from kernels import GaussianNoise
from secagg.errors import SottoError
from tests.fl_core.gradients.words_and_pixels import LABELS, adapted, batch, loss_fn
from tests.fl_core.lora_models import lora_model, one_by_one


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


def test_a_trainable_parameter_outside_lora_is_refused():
    model = adapted(["fc"])
    model.get_base_model().inner.weight.requires_grad_(True)
    with pytest.raises(SottoError, match=r"inner.weight has no per-sample rule; allowed: LoRA's A and B"):
        PrivateGradient(model, clip_norm=1.0)


def test_a_layer_that_did_not_run_is_refused():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x):
            return self.used(x)

    gradient = PrivateGradient(lora_model(Skips(), ["used", "unused"]), clip_norm=1.0)
    with pytest.raises(SottoError, match="unused.lora_A.default.weight got no per-sample gradient"):
        gradient(torch.randn(2, 3), lambda output, _: output.sum(1))


def test_the_sum_is_the_same_in_microbatches_and_by_recomputation():
    model = adapted(["embed", "conv", "inner", "fc"])
    whole = PrivateGradient(model, clip_norm=0.5, scale=2**20)(batch(), loss_fn, torch.tensor([0, 1, 1, 0, 2]))
    labels = {**batch(), "labels": LABELS[:5]}
    plain = Keywordless(model)
    for options in ({"microbatch": 2}, {"buffer_bytes": 0}, {"microbatch": 3, "buffer_bytes": 0}):
        gradient = PrivateGradient(plain, clip_norm=0.5, scale=2**20, **options)
        got = gradient(labels, labelled_loss, torch.tensor([0, 1, 1, 0, 2]), 3)
        assert int((got.total - whole.total).abs().max()) <= 4  # float rounding of the model, in grid steps
        torch.testing.assert_close(got.norms, whole.norms, rtol=1e-5, atol=1e-8)
        torch.testing.assert_close(got.losses, whole.losses)


class Keywordless(nn.Module):
    """Ignores the labels that travel with the inputs."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, images, labels):
        return self.model(ids=ids, images=images)


def labelled_loss(output, inputs):
    return F.cross_entropy(output, inputs["labels"], reduction="none")


def test_noise_is_added_to_the_sum_once():
    model = adapted(["fc"])
    noise = GaussianNoise(3.0, bytes(range(32)), bytes(12))
    clean = PrivateGradient(model, clip_norm=0.5)(batch(), loss_fn).total
    whole = PrivateGradient(model, clip_norm=0.5)(batch(), loss_fn, noise=noise).total
    labels = {**batch(), "labels": LABELS[:5]}
    parts = PrivateGradient(Keywordless(model), clip_norm=0.5, microbatch=2)(labels, labelled_loss, noise=noise).total
    assert (whole - clean).std() == pytest.approx(3.0, rel=0.3)
    torch.testing.assert_close(parts, whole)


def test_noise_on_the_integer_grid_is_refused():
    noise = GaussianNoise(3.0, bytes(32), bytes(12))
    with pytest.raises(ValueError, match="float sum"):
        PrivateGradient(adapted(["fc"]), clip_norm=0.5, scale=2**10)(batch(), loss_fn, noise=noise)


def test_a_sample_is_not_touched_by_its_neighbours_not_even_by_rounding():
    model = adapted(["embed", "conv", "inner", "fc"])
    gradient = PrivateGradient(model, clip_norm=0.5, scale=2**24)
    other = batch()
    generator = torch.Generator().manual_seed(9)
    other["images"][2] = torch.randn(2, 4, 4, generator=generator)
    other["ids"][2] = torch.randint(0, 11, (4,), generator=generator)
    each = torch.arange(5)
    first, second = gradient(batch(), loss_fn, each).total, gradient(other, loss_fn, each).total
    assert torch.equal(first[[0, 1, 3, 4]], second[[0, 1, 3, 4]])
    assert not torch.equal(first[2], second[2])


def test_a_layer_that_runs_twice_contributes_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.out = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x):
            return self.out(torch.tanh(self.inner(torch.tanh(self.inner(x)))))

    model = lora_model(Twice(), ["inner", "out"])
    inputs = {"x": torch.randn(5, 6, generator=torch.Generator().manual_seed(4))}
    want, norms = one_by_one(model, inputs, loss_fn, 0.5)
    for buffer_bytes in (2**30, 0):
        got = PrivateGradient(model, clip_norm=0.5, buffer_bytes=buffer_bytes)(inputs, loss_fn)
        torch.testing.assert_close(got.total.double(), want, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(got.norms, norms, rtol=1e-5, atol=1e-8)


def test_parameters_shared_between_layers_are_counted_once():
    class Pairs(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x):
            return self.two(torch.tanh(self.one(x)))

    model = lora_model(Pairs(), ["one", "two"])
    layers = model.get_base_model()
    layers.two.lora_B["default"].weight = layers.one.lora_B["default"].weight
    inputs = {"x": torch.randn(5, 6, generator=torch.Generator().manual_seed(4))}
    want, norms = one_by_one(model, inputs, loss_fn, 0.5)
    got = PrivateGradient(model, clip_norm=0.5)(inputs, loss_fn)
    torch.testing.assert_close(got.total.double(), want, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(got.norms, norms, rtol=1e-5, atol=1e-8)


def test_parameters_that_only_share_memory_are_refused():
    model = adapted(["inner", "fc"])
    layer = model.get_base_model().inner
    layer.lora_B["default"].weight = nn.Parameter(layer.lora_A["default"].weight[:, :5].t())
    with pytest.raises(SottoError, match="share their memory"):
        PrivateGradient(model, clip_norm=0.5)


def test_dropout_on_the_adapters_input_is_part_of_the_sample():
    model = adapted(["inner", "fc"], lora_dropout=0.5)
    model.train()
    torch.manual_seed(5)
    got = PrivateGradient(model, clip_norm=100.0)(batch(), loss_fn, torch.arange(5)).total
    parameters = [p for _, p in trainable_parameters(model)]
    torch.manual_seed(5)
    total = torch.autograd.grad(loss_fn(model(**batch()), None).sum(), parameters)
    torch.testing.assert_close(got.sum(0), torch.cat([g.flatten() for g in total]), rtol=1e-4, atol=1e-6)


def test_only_the_trainable_half_of_a_pair_is_computed():
    model = adapted(["inner", "fc"])
    for name, parameter in model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    want, _ = one_by_one(model, batch(), loss_fn, 0.5)
    got = PrivateGradient(model, clip_norm=0.5)(batch(), loss_fn)
    torch.testing.assert_close(got.total.double(), want, rtol=1e-4, atol=1e-6)


def test_inputs_that_do_not_keep_the_batch_first_are_refused():
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 4)

        def forward(self, x):
            return self.fc(x.transpose(0, 1)).mean(0)

    with pytest.raises(SottoError, match="batch first"):
        PrivateGradient(lora_model(Turned(), ["fc"]), clip_norm=1.0)(torch.randn(5, 3, 6), loss_fn)


def test_an_adapter_that_was_replaced_afterwards_is_refused():
    model = adapted(["fc"])
    gradient = PrivateGradient(model, clip_norm=1.0)
    layer = model.get_base_model().fc
    layer.lora_A["default"].weight = nn.Parameter(layer.lora_A["default"].weight.clone())
    with pytest.raises(SottoError, match="was replaced"):
        gradient(batch(), loss_fn)


def test_a_step_that_moves_every_weight_passes_and_one_that_does_not_is_named():
    model = adapted(["inner", "fc"])
    gradient = PrivateGradient(model, clip_norm=1.0)
    result = gradient(batch(), loss_fn)
    stale = [nn.Parameter(p.clone()) for _, p in trainable_parameters(model)]
    optimizer = torch.optim.SGD(stale, lr=1.0)
    for parameter in stale:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    with pytest.raises(SottoError, match="inner.lora_A.default.weight did not move"):
        gradient.check_step()
    slices = result.total.split([p.numel() for p in stale])
    with torch.no_grad():
        for (_, parameter), part in zip(trainable_parameters(model), slices, strict=True):
            parameter.sub_(part.view_as(parameter))
    gradient.check_step()


def test_weights_without_a_gradient_need_not_move():
    model = adapted(["fc"])
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.zero_()  # as PEFT starts: A then has no gradient
    gradient = PrivateGradient(model, clip_norm=1.0)
    gradient(batch(), loss_fn)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.add_(1.0)
    gradient.check_step()


def test_a_loss_that_is_not_per_sample_is_refused():
    gradient = PrivateGradient(adapted(["fc"]), clip_norm=1.0)
    with pytest.raises(SottoError, match="one loss per sample"):
        gradient(batch(), lambda output, inputs: loss_fn(output, inputs).mean())


def test_a_model_without_trainable_parameters_is_refused():
    model = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(SottoError, match="no trainable parameter"):
        PrivateGradient(model, clip_norm=1.0)
