"""Readers see what was chosen first, and everything on request."""

from __future__ import annotations

import yaml

from experiments.html_report.configuration import as_yaml, changed, flat, varying
from fl_core.config import RunConfig
from fl_core.config_file import to_dict


def test_only_what_differs_from_the_defaults_is_listed_with_the_default():
    config = to_dict(RunConfig())
    assert changed(config) == []
    config["privacy"]["epsilon"] = 2.0
    config["lora"]["ranks"] = {"fc": 3}
    config["gone"] = {"key": 1}  # of another version
    assert changed(config) == [("lora.ranks.fc", 3, None), ("privacy.epsilon", 2.0, None), ("gone.key", 1, None)]


def test_keys_that_vary_are_found_also_where_one_lacks_them():
    configs = [{"a": {"x": 1, "y": 1}}, {"a": {"x": 2, "y": 1}}, {"a": {"x": 1, "y": 1}, "b": 3}]
    assert varying(configs) == ["a.x", "b"]


def test_the_whole_configuration_comes_back_from_its_yaml():
    config = to_dict(RunConfig())
    assert yaml.safe_load(as_yaml(config)) == config
    assert flat(config)["privacy.delta"] == 1e-5
