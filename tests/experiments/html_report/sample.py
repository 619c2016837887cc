"""Runs for the page, small but whole: a real ledger, the epsilons that follow from it, metrics and a summary."""

from __future__ import annotations

import copy
import math
from pathlib import Path

from fl_core.config import RunConfig
from fl_core.config_file import to_dict
from fl_core.privacy.ledger import Ledger, LedgerHeader, Opening, read_ledger, summarise_ledger

__all__ = ["HOSTILE", "sample_run"]

HOSTILE = '</title></style><script>document.title="owned"</script><img src=x onerror=alert(1)>"\'&\u202e\x00\ud800'


def sample_run(
    folder: Path,
    name: str = "own",
    *,
    trust: str = "distributed",
    epsilon: float | None = 8.0,
    rounds: int = 6,
    clients: int = 12,
    after: float = 0.9,
    noise_multiplier: float = 2.0,
    warnings: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    noise_source: str = "system",
    backend: str = "smpc",
    survivors: int | None = None,
    **summary: object,
):
    """(name, rows, summary) of a run whose ledger lies in `folder`/ledger.jsonl, which is made."""
    folder.mkdir(parents=True)
    scale = 2.0**20
    header = LedgerHeader(
        run=f"run of {len(name)} letters",
        unit="example",
        trust=trust,
        mechanism="discrete_gaussian",
        neighbouring="zero_out",
        delta=1e-5,
        clip_norm=1.0,
        scale=scale,
        dimension=100,
        clients=clients,
        n_min=survivors or clients,
        sample_rate=0.1,
        backend=backend,
        noise_source=noise_source,
        target_epsilon=epsilon,
        warnings=warnings,
    )
    present = survivors or clients
    givers = 1 if trust == "central" else present
    sigma = 0.0 if trust == "none" else float(round(noise_multiplier * scale / math.sqrt(givers)))
    z = math.sqrt(givers) * sigma / scale
    rows = [{"round": 0, "accuracy": 0.1, "survivors": 0, "seconds": 0.0, "bytes_per_client": 0, "message": "untuned"}]
    path = folder / "ledger.jsonl"
    with Ledger.create(path, header) as ledger:
        for number in range(1, rounds + 1):
            ledger.append(Opening(number, 0, present, "ab" * 32, z, sigma))
            found = summarise_ledger(read_ledger(path))["views"]
            rows.append(
                {
                    "round": number,
                    "accuracy": 0.1 + (after - 0.1) * math.sqrt(number / rounds),
                    "survivors": present,
                    "seconds": 0.5 + number / 100,
                    "bytes_per_client": 400,
                    **{f"epsilon_{view}": one["epsilon"] for view, one in found.items() if one["epsilon"] is not None},
                }
            )
    config = copy.deepcopy(to_dict(RunConfig()))
    config["privacy"] |= {"trust": trust, "epsilon": None if trust == "none" else epsilon}
    config["federation"] |= {"clients": clients, "rounds": rounds, "n_min": survivors}
    config["aggregation"]["backend"] = backend
    made = {
        "config": config,
        "data": "digits",
        "source": "digits (embedded)",
        "notes": list(notes),
        "records": 719,
        "parameters": 100,
        "noise_multiplier": z,
        "ring_bits": 31,
        "privacy": summarise_ledger(read_ledger(path)),
        "idealised_release_epsilon": None,
        "targets": ["fc"],
        "scores_before": {"accuracy": 0.1, "test_loss": 2.5},
        "scores_after": {"accuracy": after, "test_loss": 0.5},
        "accuracy_before": 0.1,
        "accuracy_after": after,
        "rounds_done": rounds,
        "ended": "all rounds done",
        "bytes_per_client": 400,
        "seconds": 4.0,
        "seconds_rounds": 3.0,
        "environment": {"torch": "2.13.0", "system": "Linux x86_64"},
    }
    return name, rows, made | summary
