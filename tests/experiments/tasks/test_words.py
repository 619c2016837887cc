"""Next-word prediction end to end: divisions, units, stand-ins, caches of frozen states, any base."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from experiments.frozen_cache import kept
from experiments.runs import execute
from experiments.tasks import build_task
from experiments.tasks.stored_sequences import FrozenStates
from experiments.terminal_progress import RoundProgress
from fl_core.config_file import parse_config
from secagg.errors import SottoError
from tests.experiments.language.tiny_language import save, tokenizer


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save(tmp_path_factory.mktemp("base"))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def config(base, *overrides):
    settings = {
        "data": {"name": "topics", "partition": "natural", "sequence_length": 12, "test_sequences": 40},
        "model": {"base": str(base)},
        "lora": {"rank": 2, "targets": ["c_attn"], "blocks": [-1]},
        "federation": {"clients": 4, "rounds": 2, "sample_rate": 0.05},
        "privacy": {"noise_multiplier": 1.0, "delta": 1e-3},
        "server": {"optimizer": "adam", "learning_rate": 0.01},
        "aggregation": {"backend": "plaintext"},
        "engine": {"batch_size": 128},
    }
    return parse_config(OmegaConf.create(settings), list(overrides), "test")


def run(config, out):
    return execute(config, out, False, False, RoundProgress(config.federation.rounds, silent=True))


def test_the_largest_users_are_the_clients_and_other_divisions_share_their_sequences(base):
    natural = build_task(config(base)).clients
    sizes = [len(rows) for rows in natural]
    assert sizes == sorted(sizes, reverse=True)
    pool = np.sort(np.concatenate(natural))
    assert len(np.unique(pool)) == len(pool)
    for scheme in ("iid", "dirichlet"):
        other = build_task(config(base, f"data.partition={scheme}")).clients
        assert (np.sort(np.concatenate(other)) == pool).all()
    assert max(map(len, build_task(config(base, "data.partition=iid")).clients)) <= len(pool) // 4 + 1


def test_a_record_is_the_same_only_where_posts_are_cut_alike_and_a_user_always_is(base):
    def protected(*overrides):
        return build_task(config(base, *overrides)).protected

    first = protected()
    assert (first.data, first.client) == ("topics", "a user")
    assert first.record.startswith("a sequence of at most 12 tokens")
    assert protected("federation.clients=3", "federation.rounds=9") == first
    longer = protected("data.sequence_length=13")
    assert longer.record != first.record
    assert longer.client == first.client
    divided = [protected("data.partition=iid", *more) for more in ([], ["data.seed=1"], ["data.sequence_length=13"])]
    assert len({other.client for other in divided}) == 3


def test_a_folder_of_posts_is_not_known_by_its_name(base, tmp_path):
    for split, user in (("train", "a"), ("test", "b")):
        rows = [{"user": f"{user}{i % 4}", "text": "some words of a post that say little"} for i in range(20)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    task = build_task(config(base, f"data.name={tmp_path}"))
    assert task.name == tmp_path.name
    assert task.protected.data == ""
    assert task.protected.record
    # Who was held out of a folder of one's own is nobody's public test data.
    assert task.in_words.scored_on == "texts of 4 held-out users, scored without noise"
    assert task.in_words.record.startswith("a piece of at most 12 tokens of a text: a longer text is several records")
    assert task.in_words.record.endswith(f"a client holds {task.records // 4} of them on average")
    assert task.records == 40


def test_what_is_learnt_and_on_whom_it_is_scored_are_in_the_tasks_words(base):
    words = build_task(config(base)).in_words
    assert words.learns == "to predict the next word of topics"
    assert re.fullmatch(r"public texts of \d+ users who are no clients", words.scored_on)
    assert words.about in build_task(config(base)).notes


def test_a_run_on_texts_of_ones_own_copies_them_nowhere_with_features_in_memory(base, tmp_path, all_on_disk):
    own = tmp_path / "own"
    own.mkdir()
    for split, user in (("train", "a"), ("test", "b")):
        rows = [{"user": f"{user}{i % 4}", "text": f"some words of a post, zanzibar {i}"} for i in range(20)]
        (own / f"{split}.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    wanted = f"data.name={own}"
    run(config(base, wanted, "engine.features=memory"), tmp_path / "run")
    assert not (tmp_path / "cache").exists()
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file() and b"zanzibar" in path.read_bytes()]
    kept._in_memory.clear()
    run(config(base, wanted), tmp_path / "default")
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"frozen"}


def test_stored_states_change_gradients_by_rounding_only(base):
    from fl_core import PrivateGradient

    kept = build_task(config(base))
    again = build_task(config(base, "engine.keep_features=false"))
    rows = kept.clients[0][:6]
    inputs, whole = kept.batch(rows), again.batch(rows)
    assert "prefix_states" in inputs
    assert "prefix_states" not in whole
    one = PrivateGradient(kept.model, 1.0)(inputs, kept.loss)
    two = PrivateGradient(again.model, 1.0)(whole, again.loss)
    torch.testing.assert_close(one.total, two.total, rtol=1e-4, atol=1e-6)
    assert kept.evaluate(kept.model)["accuracy"] == again.evaluate(again.model)["accuracy"]


def test_states_beyond_the_memory_that_was_granted_are_not_kept(base):
    said = []
    task = build_task(config(base, "engine.features_gib=0.00001"), said.append)
    assert "prefix_states" not in task.batch(task.clients[0][:2])
    assert any("not kept" in text for text in said)


@pytest.mark.parametrize("unit", ["example", "client"])
def test_a_run_leaves_an_adapter_that_peft_loads_and_scores_of_the_whole_test_split(base, tmp_path, unit):
    summary = run(config(base, f"privacy.unit={unit}", "client.steps=1"), tmp_path / "run")
    assert summary["rounds_done"] == 2
    assert set(summary["scores_after"]) == {"accuracy", "top3_accuracy", "token_accuracy", "perplexity", "test_loss"}
    assert summary["targets"] == ["c_attn"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert "whole/accuracy" in rows[0]
    assert "whole/accuracy" not in rows[1]
    assert rows[-1]["whole/accuracy"] == summary["accuracy_after"]
    # Both are moved to where nothing is called as it was, and the lines of the adapter's own README load them.
    shutil.copytree(base, tmp_path / "copied")
    (tmp_path / "run").rename(tmp_path / "moved")
    card = (tmp_path / "moved" / "adapter" / "README.md").read_text()
    assert f"{summary['privacy']['views']['release']['epsilon']:.4f}" in card
    (lines,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names: dict[str, object] = {}
    exec(lines.replace(str(base), str(tmp_path / "copied")).replace('"adapter"', f'"{tmp_path}/moved/adapter"'), names)
    found, weights = (
        names["model"].state_dict(),
        load_file(tmp_path / "moved" / "adapter" / "adapter_model.safetensors"),
    )
    assert all(torch.equal(found[name.replace(".weight", ".default.weight")], weights[name]) for name in weights)


def test_missing_posts_are_replaced_by_the_embedded_ones_and_said_to_be(base, monkeypatch, tmp_path):
    monkeypatch.setenv("SOTTO_DATA", str(tmp_path))
    task = build_task(config(base, "data.name=stackoverflow"))
    assert task.name == "topics"
    assert "stackoverflow is not here" in task.notes[0]
    many = build_task(config(base, "data.name=stackoverflow", "federation.clients=1000"))
    assert len(many.clients) == 1000
    assert "were divided evenly instead" in many.notes[1]
    with pytest.raises(SottoError, match=r"stackoverflow.*is not there; set SOTTO_DATA"):
        build_task(config(base, "data.name=stackoverflow", "data.fallback=refuse"))


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.sequence_length=64"], "data.sequence_length is 64; allowed: 2 to 32, the positions of"),
        (["lora.targets=[q_proj]"], "lora.targets: no layer that can be adapted is called 'q_proj'; allowed: .*c_attn"),
        (["lora.blocks=[3]"], "lora.blocks: 3 is none of the model's 3 blocks; allowed: -3 to 2"),
        (["federation.clients=4000"], "federation.clients is 4000 but there are .* users"),
        (["model.base=/nowhere/at/all"], "model.base /nowhere/at/all is no folder; allowed: mini, a folder"),
        (["model.quantisation=4bit"], "model.quantisation is 4bit, but bitsandbytes is not installed|no CUDA device"),
        (["data.name=stackoverfow"], "unknown data set 'stackoverfow'; did you mean stackoverflow"),
        (["engine.device=cuda"], "engine.device is cuda, but PyTorch finds no CUDA device"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(base, overrides, sentence):
    if overrides == ["engine.device=cuda"] and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(SottoError, match=sentence):
        build_task(config(base, *overrides))


def test_a_hub_name_without_network_is_refused_in_a_sentence(base, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(SottoError, match=r"model.base gpt2-no-such is no folder and not in the hub's local cache"):
        build_task(config(base, "model.base=gpt2-no-such"))


def test_a_folder_without_a_model_is_refused_in_a_sentence(base, tmp_path):
    with pytest.raises(SottoError, match=r"cannot be loaded as a causal language model"):
        build_task(config(base, f"model.base={tmp_path}"))


def test_targets_follow_the_architecture_where_none_are_named(base):
    task = build_task(config(base, "lora.targets=[]"))
    assert {name.split(".")[-4] for name, p in task.model.named_parameters() if p.requires_grad} == {"c_attn"}


def test_a_folder_of_distilgpt2s_shape_runs_end_to_end(tmp_path):
    """6 layers of width 768, 12 heads, 50,257 tokens: 82 million parameters, two rounds on tiny data."""
    torch.manual_seed(0)
    shape = GPT2Config(n_layer=6, n_embd=768, n_head=12)
    with torch.no_grad():
        model = GPT2LMHeadModel(shape)
    assert sum(p.numel() for p in model.parameters()) == 81_912_576
    model.to(torch.float16).save_pretrained(tmp_path / "distil")
    tokenizer().save_pretrained(tmp_path / "distil")
    posts = tmp_path / "posts"
    posts.mkdir()
    for split in ("train", "test"):
        lines = [json.dumps({"user": f"{split}{n}", "text": "a short post about lists"}) for n in range(4)]
        (posts / f"{split}.jsonl").write_text("\n".join(lines * 3))
    task_config = config(
        tmp_path / "distil",
        f"data.name={posts}",
        "data.sequence_length=8",
        "federation.sample_rate=0.5",
        "lora.blocks=[]",
        "lora.targets=[]",
    )
    summary = run(task_config, tmp_path / "run")
    assert summary["rounds_done"] == 2
    assert summary["parameters"] == 6 * 2 * (768 + 3 * 768)


@pytest.fixture
def all_on_disk(tmp_path, monkeypatch):
    """Even small states go to disk, and no other test's are there; how many sequences were computed is counted."""
    monkeypatch.setenv("SOTTO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(kept, "_SMALL", 1)
    monkeypatch.setattr(kept, "_in_memory", {})
    computed = []
    run = FrozenStates._states
    monkeypatch.setattr(FrozenStates, "_states", lambda self, ids: computed.append(len(ids)) or run(self, ids))
    return computed


def test_runs_share_the_frozen_states_and_another_base_or_depth_has_its_own(base, tmp_path, all_on_disk):
    folder = tmp_path / "cache" / "frozen"
    build_task(config(base))
    count, files = len(all_on_disk), len(list(folder.glob("*.rows")))
    assert files == 2  # of the clients and of the test users
    for same in ("lora.rank=3", "lora.targets=[c_attn,c_fc]", "data.partition=iid"):
        build_task(config(base, same, "privacy.noise_multiplier=2"))
        assert len(all_on_disk) == count
    for other in (config(save(tmp_path / "other", seed=1)), config(base, "lora.blocks=[-2,-1]")):
        before = len(all_on_disk)
        build_task(other)
        assert len(all_on_disk) > before
        files += 2
        assert len(list(folder.glob("*.rows"))) == files


def test_the_same_weights_with_other_heads_have_states_of_their_own(base, tmp_path, all_on_disk):
    build_task(config(base))
    before = len(all_on_disk)
    other = tmp_path / "heads"
    shutil.copytree(base, other)
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "n_head": 2 * settings["n_head"]}))
    build_task(config(other))
    assert len(all_on_disk) == 2 * before
    shutil.copytree(base, tmp_path / "moved")
    build_task(config(tmp_path / "moved"))
    assert len(all_on_disk) == 2 * before


def test_a_run_gives_the_same_bits_with_states_computed_now_from_disk_and_from_memory(base, tmp_path, all_on_disk):
    def adapter(name, *overrides):
        run(config(base, "privacy.insecure_seed=1", *overrides), tmp_path / name)
        return load_file(tmp_path / name / "adapter" / "adapter_model.safetensors"), len(all_on_disk)

    anew, count = adapter("anew")
    from_disk, still = adapter("disk")
    assert still == count
    in_memory, more = adapter("memory", "engine.features=memory")
    assert more == 2 * count
    assert any(tensor.abs().max() > 0 for name, tensor in anew.items() if "lora_B" in name)
    for other in (from_disk, in_memory):
        assert other.keys() == anew.keys()
        assert all(torch.equal(other[name], anew[name]) for name in anew)
