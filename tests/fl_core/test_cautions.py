"""What a run's circumstances take from its epsilons is said once, and only where it is so."""

from __future__ import annotations

import pytest

from fl_core.cautions import caution_of_delta, caution_of_place, is_of_place
from tests.fl_core.tiny import tiny_config

PRIVATE = ("privacy.insecure_seed=null",)
DEPLOYED = ("aggregation.backend=smpc", "aggregation.parties=3", "aggregation.deployment=somewhere")


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (
            ["aggregation.backend=smpc", "aggregation.parties=3"],
            "one machine held all clients, their keys and all part",
        ),
        (("aggregation.backend=plaintext",), "one machine held all clients and the server: "),
        (DEPLOYED, "one machine held all clients, and only the parties were a deployment's: "),
    ],
)
def test_a_simulation_says_against_whom_nothing_protects(overrides, where):
    said = caution_of_place(tiny_config(*PRIVATE, *overrides), nodes=False)
    assert said.startswith(where)
    assert said.endswith(
        "nothing protects the records from whoever runs it; every epsilon is the protocol's, against others"
    )
    assert is_of_place(said)


def test_clients_on_nodes_of_their_own_are_no_simulation():
    assert caution_of_place(tiny_config(*DEPLOYED), nodes=True) is None


BARE = ("privacy.trust=none", "privacy.noise_multiplier=null")
SEEDED = ("privacy.insecure_seed=3",)


@pytest.mark.parametrize("overrides", [BARE, SEEDED])
def test_of_a_run_that_is_not_private_no_epsilon_is_spoken_of(overrides):
    config = tiny_config("aggregation.backend=plaintext", "privacy.delta=0.5", *overrides)
    assert caution_of_place(config, nodes=False) == (
        "one machine held all clients and the server: nothing protects the records from whoever runs it"
    )
    assert caution_of_delta(config, 1000) is None


@pytest.mark.parametrize(
    ("unit", "records", "delta", "says"),
    [
        ("example", 1000, 1e-3, "delta 0.001 is not below one in the 1,000 records that are to be protected"),
        ("example", 1000, 0.5, "delta 0.5 is not below one in the 1,000 records"),
        ("example", 999, 1e-3, None),
        ("client", 1000, 1e-3, None),
        ("client", 1000, 0.25, "delta 0.25 is not below one in the 4 clients that are to be protected"),
    ],
)
def test_a_delta_that_gives_one_of_the_protected_away_is_said(unit, records, delta, says):
    config = tiny_config(*PRIVATE, f"privacy.unit={unit}", f"privacy.delta={delta}", "federation.clients=4")
    said = caution_of_delta(config, records)
    assert said is None if says is None else says in said
