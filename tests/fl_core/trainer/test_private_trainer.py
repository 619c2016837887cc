"""A training with Hugging Face's interface: the steps, the guarantee and what is told of them."""

from __future__ import annotations

import copy
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from scipy import stats
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    GPT2LMHeadModel,
    TrainerCallback,
    TrainingArguments,
)

from fl_core import PrivacyArguments, PrivateTrainer
from fl_core.adapters import flat_adapter, trainable_parameters
from fl_core.causal_lm import CausalLmLoss
from fl_core.privacy.ledger import Ledger, LedgerError, read_ledger, summary
from secagg.errors import SottoError
from tests.fl_core.lora_models import lora_model, one_by_one

RECORDS = 60
CALM = {"noise_multiplier": 1e-5, "scale_bits": 24}  # hardly any noise


def language_model(**options):
    torch.manual_seed(0)
    shape = {"vocab_size": 40, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = GPT2Config(**shape, bos_token_id=0, eos_token_id=0, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0)
    return lora_model(GPT2LMHeadModel(config), ["c_attn"], fan_in_fan_out=True, **options)


@pytest.fixture(scope="module")
def records():
    ids = torch.randint(0, 40, (RECORDS, 8), generator=torch.Generator().manual_seed(3))
    return [{"input_ids": row, "labels": row.clone()} for row in ids]


def arguments(folder, **changes):
    chosen = {
        "max_steps": 4,
        "per_device_train_batch_size": 5,
        "gradient_accumulation_steps": 2,
        "logging_steps": 2,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        **changes,
    }
    return TrainingArguments(output_dir=str(folder), **chosen)


def trainer_of(folder, records, privacy=None, model=None, **changes):
    rest = {name: changes.pop(name) for name in ("sample_loss", "data_collator", "eval_dataset") if name in changes}
    return PrivateTrainer(
        model or language_model(),
        arguments(folder, **changes),
        privacy=privacy or PrivacyArguments(epsilon=8, delta=1e-3),
        train_dataset=records,
        **rest,
    )


class Gradients(TrainerCallback):
    def __init__(self, model):
        self.model, self.seen = model, []

    def on_pre_optimizer_step(self, args, state, control, **rest):
        self.seen.append(torch.cat([p.grad.flatten().clone() for _, p in trainable_parameters(self.model)]))


def test_with_every_record_and_hardly_any_noise_a_step_is_the_clipped_mean_of_autograd(tmp_path, records):
    model = language_model()
    trainer = trainer_of(
        tmp_path, records, PrivacyArguments(**CALM, clip_norm=0.05), model,
        max_steps=1, per_device_train_batch_size=16, gradient_accumulation_steps=4,
    )  # fmt: skip
    spy = Gradients(trainer.model)
    trainer.add_callback(spy)
    batch = {name: torch.stack([record[name] for record in records]) for name in ("input_ids", "labels")}
    reference, norms = one_by_one(copy.deepcopy(model), {"input_ids": batch["input_ids"]}, CausalLmLoss(), 0.05)
    assert (norms > 0.05).any()
    trainer.train()
    torch.testing.assert_close(spy.seen[0].double(), reference / RECORDS, rtol=1e-3, atol=2e-6)


def test_the_optimiser_and_schedule_are_those_of_the_arguments(tmp_path, records):
    trainer = trainer_of(
        tmp_path, records, PrivacyArguments(**CALM), optim="sgd", learning_rate=0.5, lr_scheduler_type="linear",
        max_steps=2, per_device_train_batch_size=RECORDS, gradient_accumulation_steps=1,
    )  # fmt: skip
    spy = Gradients(trainer.model)
    trainer.add_callback(spy)
    before = flat_adapter(trainer.model)
    trainer.train()
    expected = before - 0.5 * spy.seen[0] - 0.25 * spy.seen[1]
    torch.testing.assert_close(flat_adapter(trainer.model), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mechanism", ["discrete_gaussian", "skellam", "gaussian"])
def test_the_noise_of_a_step_is_what_the_ledger_says(tmp_path, records, mechanism):
    silent = [{**record, "labels": torch.full((8,), -100)} for record in records]  # no gradient at all
    privacy = PrivacyArguments(noise_multiplier=0.8, clip_norm=0.5, mechanism=mechanism)
    trainer = trainer_of(tmp_path, silent, privacy, max_steps=6)
    spy = Gradients(trainer.model)
    trainer.add_callback(spy)
    trainer.train()
    opened = read_ledger(tmp_path / "ledger.jsonl").openings
    assert [opening.round for opening in opened] == list(range(6))
    noise = torch.cat(spy.seen).double().numpy() * 10  # the expected batch
    promised = opened[0].noise_multiplier * 0.5
    assert promised == pytest.approx(0.4, rel=1e-4)
    square = float((noise**2).sum()) / promised**2
    assert 1e-6 < stats.chi2.cdf(square, len(noise)) < 1 - 1e-6
    assert len(np.unique(noise)) > 0.9 * len(noise), "no step has another's noise"


def test_epsilon_is_met_at_the_last_step_and_told_while_it_grows(tmp_path, records):
    trainer = trainer_of(tmp_path, records)
    assert trainer.epsilon is None
    trainer.train()
    told = [row["epsilon"] for row in trainer.state.log_history if "epsilon" in row]
    assert told == sorted(told)
    assert 7.9 < trainer.epsilon <= 8
    read = summary(read_ledger(tmp_path / "ledger.jsonl"))
    assert read.views.release.epsilon == pytest.approx(trainer.epsilon)
    assert read.header.sample_rate == 10 / RECORDS
    assert (read.header.unit, read.header.neighbouring, read.views.local.epsilon) == ("example", "zero_out", None)
    assert any("one machine" in text for text in trainer.privacy_summary()["warnings"])


def test_nothing_unnoised_is_logged_kept_or_given_back(tmp_path, records):
    trainer = trainer_of(tmp_path, records, save_strategy="steps", save_steps=2)
    result = trainer.train()
    assert math.isnan(result.training_loss)
    assert math.isnan(result.metrics["train_loss"])
    assert result.metrics["total_flos"] == 0, "how much was computed tells the size of a sample"
    assert not any("loss" in name for row in trainer.state.log_history for name in row)
    kept = json.loads((tmp_path / "checkpoint-4" / "trainer_state.json").read_text())
    assert not any("loss" in name for row in kept["log_history"] for name in row)
    assert kept["total_flos"] == 0


def test_the_training_loss_is_logged_if_asked_for(tmp_path, records):
    privacy = PrivacyArguments(epsilon=8, delta=1e-3, report_training_loss=True)
    trainer = trainer_of(tmp_path, records, privacy)
    assert math.isfinite(trainer.train().training_loss)
    assert any("loss" in row for row in trainer.state.log_history)
    assert any(
        "the training loss was logged" in text for text in read_ledger(tmp_path / "ledger.jsonl").header.warnings
    )


def test_a_quiet_training_has_no_such_warning_and_the_idealised_mechanism_one_of_its_own(tmp_path, records):
    trainer_of(tmp_path / "a", records, max_steps=1).train()
    assert len(read_ledger(tmp_path / "a" / "ledger.jsonl").header.warnings) == 1
    ideal = PrivacyArguments(epsilon=8, delta=1e-3, mechanism="gaussian")
    trainer_of(tmp_path / "b", records, ideal, max_steps=1).train()
    assert any("idealised" in text for text in read_ledger(tmp_path / "b" / "ledger.jsonl").header.warnings)


def test_a_step_whose_entry_does_not_reach_the_disk_is_not_taken(tmp_path, records, monkeypatch):
    def full(self, opening):
        raise LedgerError("no space left")

    trainer = trainer_of(tmp_path, records)
    before = flat_adapter(trainer.model)
    monkeypatch.setattr(Ledger, "append", full)
    with pytest.raises(LedgerError, match="no space left"):
        trainer.train()
    assert torch.equal(flat_adapter(trainer.model), before)


def test_a_resumed_training_counts_the_steps_after_its_checkpoint_twice_and_stops_at_the_budget(tmp_path, records):
    trainer_of(tmp_path, records, save_strategy="steps", save_steps=3).train()
    again = trainer_of(tmp_path, records, save_strategy="steps", save_steps=3)
    checkpoint = tmp_path / "checkpoint-3"
    again.train(resume_from_checkpoint=str(checkpoint))
    assert again.epsilon <= 8
    assert any("stopped by the budget" in str(row.get("stopped")) for row in again.state.log_history)
    saved = PeftModel.from_pretrained(language_model().get_base_model(), checkpoint)
    for (name, ours), (_, theirs) in zip(
        trainable_parameters(again.model), [(n, p) for n, p in saved.named_parameters() if "lora_" in n], strict=True
    ):
        assert torch.equal(ours, theirs), name
    more = PrivacyArguments(noise_multiplier=1.0, delta=1e-3)
    with pytest.raises(SottoError, match="target_epsilon is None now and was 8"):
        trainer_of(tmp_path, records, more).train(resume_from_checkpoint=str(checkpoint))


def test_without_a_target_a_resumed_training_goes_on_and_counts_every_opening(tmp_path, records):
    privacy = PrivacyArguments(noise_multiplier=1.0, delta=1e-3)
    trainer_of(tmp_path, records, privacy, save_strategy="steps", save_steps=3).train()
    again = trainer_of(tmp_path, records, privacy, save_strategy="steps", save_steps=3)
    (tmp_path / "checkpoint-4").rename(tmp_path / "checkpoint-4-moved")
    again.train(resume_from_checkpoint=True)
    rounds = [(opening.round, opening.attempt) for opening in read_ledger(tmp_path / "ledger.jsonl").openings]
    assert rounds == [(0, 0), (1, 0), (2, 0), (3, 0), (3, 1)]


def test_a_ledger_that_lost_lines_or_a_checkpoint_without_its_head_is_refused(tmp_path, records):
    trainer_of(tmp_path, records, save_strategy="steps", save_steps=2).train()
    path = tmp_path / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(LedgerError, match="is missing; there once were 5 lines"):
        trainer_of(tmp_path, records).train(resume_from_checkpoint=True)
    path.write_bytes(whole)
    for content in (None, "[]", '{"lines": "5", "hash": "a"}'):
        head = tmp_path / "checkpoint-4" / "ledger_head.json"
        head.unlink(missing_ok=True)
        if content:
            head.write_text(content)
        with pytest.raises(SottoError, match=r"ledger_head.json (cannot be read|is not what)"):
            trainer_of(tmp_path, records).train(resume_from_checkpoint=True)


def test_a_second_training_does_not_forget_the_first(tmp_path, records):
    trainer_of(tmp_path, records).train()
    with pytest.raises(LedgerError, match="already exists"):
        trainer_of(tmp_path, records).train()
    with pytest.raises(SottoError, match="has no checkpoint to resume from"):
        trainer_of(tmp_path, records).train(resume_from_checkpoint=True)


def test_texts_of_any_length_by_a_collator_and_a_data_set_with_other_columns(tmp_path):
    def collate(rows):
        longest = max(len(row["input_ids"]) for row in rows)
        ids = [row["input_ids"] + [0] * (longest - len(row["input_ids"])) for row in rows]
        mask = [[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows]
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}

    rows = Dataset.from_list([{"input_ids": [1] * (2 + i % 5), "user": f"u{i}"} for i in range(30)])
    trainer = trainer_of(tmp_path, rows, data_collator=collate, eval_dataset=None)
    before = flat_adapter(trainer.model)
    trainer.train()
    assert not torch.equal(flat_adapter(trainer.model), before)


def test_another_loss_is_one_per_record_and_a_mean_is_refused(tmp_path, records):
    torch.manual_seed(0)
    shape = {"vocab_size": 40, "n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
    base = GPT2ForSequenceClassification(GPT2Config(**shape, bos_token_id=0, eos_token_id=0, pad_token_id=0))
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True))
    rows = [{"input_ids": record["input_ids"], "labels": torch.tensor(i % 2)} for i, record in enumerate(records)]

    def losses(output, batch):
        return F.cross_entropy(output.logits, batch["labels"], reduction="none")

    before = flat_adapter(model)
    trainer_of(tmp_path / "a", rows, model=model, sample_loss=losses).train()
    assert not torch.equal(flat_adapter(model), before)
    mean = trainer_of(tmp_path / "b", rows, model=model, sample_loss=lambda output, batch: output.loss)
    with pytest.raises(SottoError, match="one loss per sample"):
        mean.train()
    assert not read_ledger(tmp_path / "b" / "ledger.jsonl").openings


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"bf16": True}, "bf16 is True; allowed with privacy: False"),
        ({"label_smoothing_factor": 0.1}, "label_smoothing_factor"),
        ({"auto_find_batch_size": True}, "spends again"),
        ({"include_num_input_tokens_seen": "all"}, "include_num_input_tokens_seen"),
        ({"neftune_noise_alpha": 1.0}, "neftune_noise_alpha"),
    ],
)
def test_arguments_that_would_make_another_step_are_refused(tmp_path, records, changes, says):
    with pytest.raises(SottoError, match=says):
        trainer_of(tmp_path, records, **changes)


def test_what_has_no_coin_for_each_record_or_would_spend_unseen_is_refused(tmp_path, records):
    with pytest.raises(SottoError, match="with a length above 0"):
        trainer_of(tmp_path, (record for record in records)).train()
    with pytest.raises(SottoError, match="with a length above 0"):
        trainer_of(tmp_path, []).train()
    with pytest.raises(SottoError, match="takes no compute_loss_func"):
        PrivateTrainer(
            language_model(), arguments(tmp_path), privacy=PrivacyArguments(epsilon=1), compute_loss_func=lambda *a: 0
        )
    with pytest.raises(SottoError, match="needs a model"):
        PrivateTrainer(None, arguments(tmp_path), privacy=PrivacyArguments(epsilon=1))
    with pytest.raises(SottoError, match="every trial spends"):
        trainer_of(tmp_path, records).hyperparameter_search()
    with pytest.raises(SottoError, match="nothing was trained yet"):
        trainer_of(tmp_path, records).privacy_summary()
