"""Every command that the documents name, and who runs it.

Patterns are those of `fnmatch`, on commands as `tests.docs.blocks` gives them. A command that is in neither table fails
`test_commands.py`, and so does a pattern that no document needs any more.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

# Run as they stand by `test_commands.py`, in a folder of their own for each document.
RUN = (
    "sotto epsilon *",
    "sotto budget *",
    "sotto party init *",
    "sotto party assemble *",
    "sotto party show *",
    "openssl *",
    "ssh-keygen *",
    "mkdir *",
    "export *",
)

_PARTIES = "tests/docs/test_parties.py::test_the_parties_of_the_documents_open_sums_on_three_hosts"
_FLOWER = (
    "tests/deploy/test_loopback.py::test_a_deployment_survives_a_client_and_an_aggregator_node_killed_in_a_round",
    "tests/deploy/test_namespaces.py::test_a_deployment_across_namespaces_survives_a_party_cut_off_in_a_round",
)
_SIMULATED = ("tests/deploy/test_flwr_run.py::test_flwr_run_simulates_the_deployments_app_with_the_local_engines_bits",)
_OWN_DATA = "tests/docs/test_own_data.py::test_the_tutorial_holds_from_the_table_to_the_loaded_adapter"
_RUNS = "tests/docs/test_long_runs.py::test_a_run_of_the_documents_ends_on_fewer_clients"
_SWEEPS = "tests/docs/test_long_runs.py::test_a_sweep_of_the_documents_ends_on_fewer_clients"

_INSTALLED = "tests/docs/test_installation.py::test_an_environment_made_as_the_readme_says_runs_outside_of_the_clone"

# Run by the tests that are named.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "pip install *": (_INSTALLED,),
    "make demo": ("tests/docs/test_long_runs.py::test_the_demonstration_ends",),
    # By CI itself, for every change (`.ci/run`).
    "make test": ("tests/docs/test_commands.py::test_ci_runs_what_every_change_must_pass",),
    "make lint": ("tests/docs/test_commands.py::test_ci_runs_what_every_change_must_pass",),
    "make types": ("tests/docs/test_commands.py::test_ci_runs_what_every_change_must_pass",),
    "make bench": (
        "tests/docs/test_benchmarks.py::test_make_bench_ends",
        "tests/docs/test_commands.py::test_every_benchmark_of_make_bench_can_be_collected",
    ),
    "python -m bench.kernels_cpu *": (
        "tests/docs/test_benchmarks.py::test_the_benchmark_of_the_private_step_ends_on_a_tiny_model",
        "tests/bench/kernels_cpu/test_kernels_cpu.py::test_an_interrupted_part_goes_on_where_it_stopped",
        "tests/bench/kernels_cpu/test_kernels_cpu.py::test_tables_and_plot_show_every_part",
    ),
    "python -m bench.trainings *": (
        "tests/bench/test_trainings.py::test_each_training_runs_and_the_private_ones_spend_what_was_asked_for_at_most",
        "tests/bench/test_trainings.py::test_ratios_are_of_the_same_round_and_the_page_has_every_training",
    ),
    "python -m bench.aot *": (
        "tests/kernels/gpu/test_aot.py::test_the_recorded_table_is_what_the_compiler_gives_and_nothing_spills",
    ),
    "python -m bench.secagg *": (
        "tests/bench/secagg/test_secagg.py::test_the_command_goes_on_where_it_stopped_and_names_what_it_left_out",
    ),
    "sotto --install-completion": (
        "tests/docs/test_commands.py::test_completion_is_written_for_the_shell_in_which_it_is_asked_for",
    ),
    "sotto data import texts.csv *": (_OWN_DATA,),
    "sotto run experiments/configs/own_texts.yaml *": (_OWN_DATA,),
    "sotto report runs/own_texts": (_OWN_DATA,),
    "sotto ledger runs/own_texts": (_OWN_DATA,),
    'sotto suggest "How do I" *': (_OWN_DATA,),
    "sotto ledger runs/own_model": ("tests/docs/test_python.py::test_the_tutorial_on_own_models_runs",),
    "sotto run experiments/configs/mnist.yaml*": (_RUNS,),
    "sotto run experiments/configs/next_word.yaml*": (_RUNS,),
    'sotto suggest "is there a way to" *': (_RUNS,),
    "sotto sweep *": (_SWEEPS,),
    "sotto party --rank ? --config parties.yaml": (_PARTIES,),
    "sotto run experiments/configs/demo_words.yaml aggregation.deployment=.": (_PARTIES,),
    "sotto party --rank K --config parties.yaml --spool spool": _FLOWER,
    "flower-superlink --ssl-*": _FLOWER,
    "flower-supernode *": _FLOWER,
    "flwr supernode register *": _FLOWER,
    "flwr run . federation *": _FLOWER,
    "flwr log *": ("tests/docs/test_commands.py::test_flower_still_has_the_command_for_logs",),
    "sotto ledger /srv/sotto/runs/one": _FLOWER,
    "flower-superlink --insecure --simulation *": _SIMULATED,
    "flwr run . simulation *": _SIMULATED,
}


def is_run(command):
    return any(fnmatchcase(command, pattern) for pattern in RUN)


def elsewhere(command):
    """Patterns of the second table that the command fits."""
    return [pattern for pattern in ELSEWHERE if fnmatchcase(command, pattern)]
