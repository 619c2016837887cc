"""The hub is asked only if it may be, never for long, and whatever it answers is one clause."""

import socket
import sys
import types

import numpy as np
import pytest

from experiments.datasets.hub import HubUnavailable, hub_obstacle, load_hub_split, only_from_cache


@pytest.fixture
def online(monkeypatch):
    """A hub on this machine that accepts connections."""
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"])
def test_offline_by_variable_needs_no_network(monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("used the network"))
    with pytest.raises(HubUnavailable, match=variable):
        load_hub_split("nobody/nothing", "train")


def test_a_listening_hub_is_no_obstacle(online):
    assert hub_obstacle() is None


def test_nobody_listening_is_told(online, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    assert "no connection to 127.0.0.1" in (hub_obstacle() or "")


@pytest.mark.parametrize("endpoint", ["huggingface", "http://127.0.0.1:99999999"])
def test_a_malformed_endpoint_is_an_obstacle_and_no_crash(online, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    assert hub_obstacle()


def test_images_become_grey_bytes(online, monkeypatch):
    from PIL import Image

    pixels = np.arange(2 * 4 * 4, dtype=np.uint8).reshape(2, 4, 4)
    table = {"image": [Image.fromarray(image) for image in pixels], "label": [3, 7]}
    fake = types.SimpleNamespace(load_dataset=lambda repository, split: table)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    images, labels = load_hub_split("somebody/something", "train")
    np.testing.assert_array_equal(images, pixels)
    np.testing.assert_array_equal(labels, [3, 7])


def test_whatever_the_client_raises_is_one_clause(online, monkeypatch):
    def fail(repository: str, split: str) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=fail))
    with pytest.raises(HubUnavailable, match=r"^RuntimeError: first line$"):
        load_hub_split("somebody/something", "train")


def test_a_repository_comes_from_the_cache_alone_only_where_the_hub_cannot_be_used(online, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--some--model"
    (kept / "snapshots" / "abc").mkdir(parents=True)
    (kept / "snapshots" / "abc" / "config.json").write_text("{}")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("abc")
    assert not only_from_cache("some/model", "config.json")
    assert not only_from_cache("other/model", "config.json")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert only_from_cache("some/model", "none.json", "config.json")
    for name, file in (("some/model", "none.json"), ("other/model", "config.json"), ("no: name", "config.json")):
        with pytest.raises(HubUnavailable, match="HF_HUB_OFFLINE is set"):
            only_from_cache(name, file)
