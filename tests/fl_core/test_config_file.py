"""Every wrong key, type or file is one sentence, and what was saved loads as itself."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import pytest
from omegaconf import OmegaConf

from fl_core.config import ConfigError, RunConfig
from fl_core.config_file import first_difference, load_config, merge_into, parse_config, save_config, to_dict
from fl_core.storage import StorageError

GOOD = {"privacy": {"epsilon": 2.0}}


def parse(*overrides, config=GOOD):
    return parse_config(OmegaConf.create(config), list(overrides), "run.yaml")


def test_defaults_with_an_epsilon_are_valid_and_typed():
    config = parse("federation.clients=10", "lora.targets=[fc,conv1]")
    assert isinstance(config, RunConfig)
    assert config.federation.clients == 10
    assert config.lora.targets == ["fc", "conv1"]
    assert config.n_min == 10


def test_unknown_keys_in_the_file_are_named():
    with pytest.raises(ConfigError, match="run.yaml: unknown key privacy.epsilom; did you mean epsilon"):
        parse(config={"privacy": {"epsilom": 2}})


def test_a_section_that_is_a_number_is_refused():
    with pytest.raises(ConfigError, match="privacy must be a section"):
        parse(config={"privacy": 3})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("- 1\n- 2\n", "holds a list"),
        ("a: [1\n", "not valid YAML"),
        ("privacy:\n\t- x", "not valid YAML"),
        (None, "does not exist"),
    ],
)
def test_files_that_are_no_configuration_are_refused(tmp_path, content, says):
    path = tmp_path / "run.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=says):
        load_config(path, [])


def test_a_saved_configuration_loads_as_itself(tmp_path):
    config = parse("federation.clients=7", "privacy.delta=1e-6")
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml", []) == config


def test_a_configuration_that_cannot_be_saved_leaves_the_old_one(tmp_path, monkeypatch):
    config, path = parse("federation.clients=7"), tmp_path / "config.yaml"
    save_config(config, path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # so it is asked for: a run without its configuration cannot be resumed
    with pytest.raises(StorageError, match="No space left on device"):
        save_config(parse("federation.clients=8"), path)
    assert load_config(path, []) == config
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


@dataclass(frozen=True)
class Inner:
    depth: int = 3
    names: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Outer:
    title: str = "none"
    inner: Inner = field(default_factory=Inner)


def merged(loaded, *overrides):
    return merge_into(Outer, OmegaConf.create(loaded), list(overrides), "outer.yaml")


def test_any_dataclass_is_filled_from_defaults_then_file_then_overrides():
    assert merged({}) == Outer()
    assert merged({"title": "a", "inner": {"depth": 4}}, "inner.depth=5") == Outer("a", Inner(5))
    assert merged({}, "inner.names=[x, y]").inner.names == ["x", "y"]


@pytest.mark.parametrize(
    ("loaded", "overrides", "says"),
    [
        ({"titel": "a"}, (), "outer.yaml: unknown key titel; did you mean title\\? allowed: title, inner"),
        ({"inner": {"dept": 1}}, (), "outer.yaml: unknown key inner.dept; did you mean depth"),
        ({"inner": 3}, (), "outer.yaml: inner must be a section with keys depth, names"),
        ({"inner": None}, (), "outer.yaml: inner must be a section"),
        ({"inner": {"depth": "deep"}}, (), "outer.yaml: inner.depth takes no such value; allowed: a whole number"),
        ({}, ("inner.depth=deep",), "override 'inner.depth=deep': inner.depth takes no such value; allowed: a whole"),
        ({}, ("inner.depth",), "override 'inner.depth' is not key=value, for example inner.depth=3"),
        ({}, ("=3",), "is not key=value"),
        ({}, ("inner.dept=3",), "override 'inner.dept=3': unknown key inner.dept; did you mean depth"),
        ({}, ("title.x=3",), "title.x is below a plain value; allowed: title=value"),
    ],
)
def test_a_wrong_key_or_type_of_any_schema_is_one_sentence(loaded, overrides, says):
    with pytest.raises(ConfigError, match=says) as caught:
        merged(loaded, *overrides)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ours", "theirs", "found"),
    [
        ({}, {}, None),
        ({"a": 1, "b": {"c": [1]}}, {"b": {"c": [1]}, "a": 1}, None),
        ({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}, ("b.c", 2, 3)),
        ({"b": 1, "a": 1}, {"b": 2, "a": 2}, ("a", 1, 2)),
        ({"a": {"x": 1}}, {}, ("a", {"x": 1}, None)),
        ({"a": [1, 2]}, {"a": [2, 1]}, ("a", [1, 2], [2, 1])),
    ],
)
def test_the_first_key_in_which_two_configurations_differ_is_found(ours, theirs, found):
    assert first_difference(ours, theirs) == found
    swapped = first_difference(theirs, ours)
    assert swapped == (None if found is None else (found[0], found[2], found[1]))


def test_configurations_are_compared_as_plain_data():
    assert first_difference(to_dict(Outer()), to_dict(Outer(inner=Inner(4)))) == ("inner.depth", 3, 4)


def bomb(levels=9):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (bomb(), "line 2: aliases are not read; write the value itself"),
        ("a: &a [*a]", "line 1: aliases are not read"),
        ("a: " + "[" * 100_000, "line 1: nested more than 20 levels deep"),
        ("{a: " * 100_000, "line 1: nested more than 20 levels deep"),
        ("a: " + "x" * 2**22, "is larger than 4 MiB"),
        ("5", "cannot be read: Invalid loaded object type: int"),
    ],
)
def test_yaml_that_a_parser_may_not_survive_is_refused(tmp_path, text, says):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_config(path, [])


def test_an_override_nested_deeply_is_refused(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("privacy: {epsilon: 1.0}")
    with pytest.raises(ConfigError, match="nested more than 20 levels deep"):
        load_config(path, ["lora.targets=" + "[" * 50_000])


def test_a_mapping_in_a_list_of_names_is_refused_before_a_run_cannot_be_saved(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("lora: {targets: [{a: []}]}")
    with pytest.raises(ConfigError, match="lora.targets"):
        load_config(path, [])
