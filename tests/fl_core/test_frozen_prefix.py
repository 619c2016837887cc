"""Starting from stored states gives what the whole model gives: outputs, per-sample gradients, updates."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from fl_core import PrivateGradient
from fl_core.causal_lm import CausalLmLoss
from fl_core.frozen_prefix import PREFIX_STATES, frozen_prefix


def gpt2(layers=3):
    config = GPT2Config(
        vocab_size=50, n_positions=16, n_embd=16, n_layer=layers, n_head=2, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    return GPT2LMHeadModel(config), ["c_attn", "c_fc"]


def llama(layers=3):
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=16,
    )
    return LlamaForCausalLM(config), ["q_proj", "v_proj"]


def adapted(make, blocks):
    torch.manual_seed(0)
    base, targets = make()
    model = get_peft_model(base, LoraConfig(r=2, target_modules=targets, layers_to_transform=blocks))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    return model


@pytest.mark.parametrize("make", [gpt2, llama])
@pytest.mark.parametrize("blocks", [[2], [1, 2]])
def test_logits_and_clipped_gradients_are_those_of_the_whole_model(make, blocks):
    ids = torch.randint(50, (5, 8))
    inputs = {"input_ids": ids, "labels": ids.clone()}
    model = adapted(make, blocks)
    whole = model(input_ids=ids).logits
    expected = PrivateGradient(model, 0.1)(inputs, CausalLmLoss())
    prefix = frozen_prefix(model)
    assert prefix is not None
    assert prefix.skipped == blocks[0]
    states = prefix.states(inputs)
    assert states.shape == (5, 8, 16)
    torch.testing.assert_close(model(input_ids=ids).logits, whole)
    torch.testing.assert_close(model(input_ids=ids, prefix_states=states).logits, whole)
    found = PrivateGradient(model, 0.1)({**inputs, PREFIX_STATES: states}, CausalLmLoss())
    torch.testing.assert_close(found.total, expected.total)
    torch.testing.assert_close(found.norms, expected.norms)


def test_frozen_blocks_do_not_run_when_their_states_are_given():
    model = adapted(gpt2, [2])
    prefix = frozen_prefix(model)
    ids = torch.randint(50, (2, 8))
    states = prefix.states({"input_ids": ids})
    blocks = model.get_base_model().transformer.h
    runs = []
    for block in (blocks[0].attn, blocks[2].attn):
        block.register_forward_hook(lambda module, *_: runs.append(module))
    model(input_ids=ids, prefix_states=states)
    assert runs == [blocks[2].attn]


def test_states_of_one_batch_are_not_used_for_the_next():
    model = adapted(gpt2, [2])
    prefix = frozen_prefix(model)
    ids = torch.randint(50, (2, 8))
    whole = model(input_ids=ids).logits
    model(input_ids=ids, prefix_states=torch.zeros(2, 8, 16))
    torch.testing.assert_close(model(input_ids=ids).logits, whole)
    states = prefix.states({"input_ids": ids})
    assert torch.equal(prefix.states({"input_ids": ids, PREFIX_STATES: torch.zeros(2, 8, 16)}), states)


def test_the_first_block_adapted_leaves_nothing_to_skip():
    assert frozen_prefix(adapted(gpt2, [0, 2])) is None


def test_an_adapter_on_the_embeddings_leaves_nothing_to_skip():
    base, _ = gpt2()
    assert frozen_prefix(get_peft_model(base, LoraConfig(r=2, target_modules=["wte"]))) is None


def test_a_base_with_dropout_is_run_whole():
    base = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_positions=16, n_embd=16, n_layer=3, n_head=2))
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["c_attn"], layers_to_transform=[2]))
    assert frozen_prefix(model) is None
