"""Clients that train together send what each would send alone, and nothing of one reaches another."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fl_core.adapters import flat_adapter, load_flat_adapter
from fl_core.config import ClientConfig
from fl_core.frozen_prefix import PREFIX_STATES, frozen_prefix
from fl_core.local_training import passes
from tests.fl_core.cohort_tasks import (
    CASES,
    SIZES,
    assert_close,
    each_alone,
    squares,
    tame,
    task_of,
    together,
    vector_task,
    word_task,
)
from tests.fl_core.lora_models import lora_model
from tests.fl_core.small_models import gpt2


@pytest.mark.parametrize("case", CASES)
def test_updates_are_those_of_each_client_alone(case):
    task = CASES[case]()
    want = each_alone(task)
    assert [bool(update.any()) for update in want] == [size > 0 for size in SIZES]
    assert_close(together(task), want)


@pytest.mark.parametrize("case", ["cnn, all", "gpt2 with tokens and positions", "llama"])
def test_in_float64_all_digits_of_the_updates_are_the_same(case):
    task = CASES[case]()
    load_flat_adapter(task.model.double(), 10 * flat_adapter(task.model))

    def batch(records):
        inputs = task.batch(records)
        return (inputs[0].double(), inputs[1]) if isinstance(inputs, tuple) else inputs

    wide = task_of(task.model, batch, task.loss)
    config = ClientConfig(steps=7, batch_size=4, learning_rate=0.3)
    torch.testing.assert_close(together(wide, config), each_alone(wide, config), rtol=0, atol=1e-7)


@pytest.mark.parametrize("samples", [1, 7, 10_000])
def test_however_many_go_through_the_model_together(samples):
    task = CASES["gpt2"]()
    assert_close(together(task, samples=samples), each_alone(task))


def test_batches_larger_than_any_clients_records():
    task = CASES["cnn, all"]()
    config = ClientConfig(steps=3, batch_size=1000, learning_rate=0.1)
    assert_close(together(task, config), each_alone(task, config))


def test_some_of_the_clients_in_another_order():
    task = CASES["cnn fc"]()
    assert_close(together(task, clients=[6, 0, 1, 4]), each_alone(task)[[6, 0, 1, 4]])


def test_nobody_and_nobody_with_records_give_zeros():
    task = CASES["cnn fc"]()
    length = len(flat_adapter(task.model))
    assert together(task, clients=[]).shape == (0, length)
    assert torch.equal(together(task, clients=[1, 5]), torch.zeros(2, length))


def test_the_same_again_to_the_last_bit_and_the_models_adapter_stays():
    task = CASES["gpt2"]()
    theta = flat_adapter(task.model)
    first = together(task)
    assert torch.equal(together(task), first)
    assert torch.equal(flat_adapter(task.model), theta)
    assert not any("forward" in module.__dict__ for module in task.model.modules())


def test_stored_states_of_frozen_blocks_give_the_same():
    task = word_task(gpt2, ["c_attn"], layers_to_transform=[1], fan_in_fan_out=True)
    want = each_alone(task)
    prefix = frozen_prefix(task.model)
    states = prefix.states({k: v for k, v in task.batch(np.arange(sum(SIZES))).items() if k != "labels"})
    stored = task_of(task.model, lambda records: {**task.batch(records), PREFIX_STATES: states[records]}, task.loss)
    assert_close(together(stored), want)


@pytest.mark.parametrize("padding", ["same", (2, 0)])
def test_convolutions_with_uneven_padding_strides_and_groups(padding):
    torch.manual_seed(0)
    # PEFT gives A no dilation, so only with "same" do its outputs fit a dilated layer's.
    walk = {"padding": padding, "groups": 2, **({"dilation": (1, 2)} if padding == "same" else {"stride": (2, 1)})}
    base = nn.Sequential(nn.Conv2d(4, 6, (2, 3), **walk), nn.Flatten(), nn.LazyLinear(3))
    x = torch.randn(sum(SIZES), 4, 7, 6, generator=torch.Generator().manual_seed(3))
    base(x)
    model = tame(lora_model(base, ["0", "2"], rank=4)).double()
    task = task_of(model, lambda records: x[records].double(), lambda output, _: output.square().sum(1))
    assert_close(together(task), each_alone(task))


def test_a_frozen_a_is_everybodys():
    task = CASES["cnn, all"]()
    for name, parameter in task.model.named_parameters():
        if "lora_A" in name:
            parameter.requires_grad_(False)
    assert_close(together(task), each_alone(task))


def spoilt_images(task, record, poison):
    def batch(records):
        images, labels = task.batch(records)
        images[torch.from_numpy(records == record)] = poison
        return images, labels

    return task_of(task.model, batch, task.loss)


def spoilt_loss(task, record, poison):
    marked = task.batch(np.array([record]))["input_ids"]

    def loss(output, inputs):
        return task.loss(output, inputs) * torch.where((inputs["input_ids"] == marked).all(1), poison, 1.0)

    return task_of(task.model, task.batch, loss)


@pytest.mark.parametrize(("case", "spoil"), [("cnn, all", spoilt_images), ("gpt2", spoilt_loss)])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e38])
def test_a_client_whose_numbers_are_not_finite_touches_no_other(case, spoil, poison):
    task = CASES[case]()
    config = ClientConfig(steps=8, batch_size=4, learning_rate=0.1)
    spoilt = 4
    got = together(spoil(task, task.clients[spoilt][5], poison), config)
    assert not got[spoilt].isfinite().all()
    others = [row for row in range(len(SIZES)) if row != spoilt]
    assert_close(got[others], each_alone(task, config)[others])


def test_a_short_batchs_filling_counts_nothing_even_where_its_loss_is_not_a_number():
    task = CASES["cnn fc"]()
    want = each_alone(task)

    def loss(output, inputs):
        # The filling is the only row of a batch that was there before.
        seen = (inputs[0].flatten(1)[:, None] == inputs[0].flatten(1)[None]).all(2).tril(-1).any(1)
        return torch.where(seen, float("nan"), task.loss(output, inputs))

    assert_close(together(task_of(task.model, task.batch, loss), samples=1000), want)


@given(sizes=st.lists(st.integers(1, 40), max_size=60), samples=st.integers(1, 200))
@settings(max_examples=100, deadline=None)
def test_passes_take_everyone_once_within_the_bound_and_with_little_filling(sizes, samples):
    found = passes(sizes, samples)
    assert sorted(row for some in found for row in some) == list(range(len(sizes)))
    for some in found:
        longest = max(sizes[row] for row in some)
        rows = longest * len(some)
        assert rows <= samples or len(some) == 1
        assert rows - sum(sizes[row] for row in some) <= 0.25 * rows


def test_equal_batches_fill_the_passes():
    assert passes([8] * 5, 16) == [[0, 1], [2, 3], [4]]
    assert passes([], 16) == []


def test_dropout_of_the_base_is_torchs_own_draw():
    task = vector_task(nn.Sequential(nn.Linear(5, 3), nn.Dropout(0.5)), ["0"], squares)
    torch.manual_seed(1)
    first = together(task)
    torch.manual_seed(1)
    assert torch.equal(together(task), first)
    assert not torch.equal(together(task), first)
