"""A deployment of three parties and a dealer, made on this machine."""

from __future__ import annotations

import pytest

from secagg.deployment.new_deployment import create_deployment
from secagg.deployment.terms import Policy

ADDRESSES = [("127.0.0.1", 7000), ("127.0.0.1", 7001), ("party2.example", 7002)]
DEALER = ("127.0.0.1", 7009)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "deployment"


@pytest.fixture
def deployment(folder):
    return create_deployment(folder, ADDRESSES, Policy(n_min=3), dealer=DEALER)
