"""How the engines use machines and time, and what the Flower engine cannot do."""

from __future__ import annotations

from fl_core.config import RunConfig
from fl_core.config_check.refusals import Need, need_all, positive

__all__ = ["check_engines"]


def check_engines(config: RunConfig, need: Need) -> None:
    """Refuse values of the sections engine and flower."""
    e = config.engine
    need(positive(e.features_gib), "engine.features_gib", e.features_gib, "a number above 0")
    need(e.batch_size >= 1, "engine.batch_size", e.batch_size, "1 or more")
    need(e.cohort_size is None or e.cohort_size >= 1, "engine.cohort_size", e.cohort_size, "1 or more, or null")
    need(1 <= e.workers <= 1024, "engine.workers", e.workers, "1 to 1024")
    need(positive(e.cohort_gib), "engine.cohort_gib", e.cohort_gib, "a number above 0")
    need(e.eval_every >= 1, "engine.eval_every", e.eval_every, "1 or more")
    need(e.checkpoint_every >= 1, "engine.checkpoint_every", e.checkpoint_every, "1 or more")
    need(e.threads is None or e.threads >= 1, "engine.threads", e.threads, "1 or more")
    _check_flower(config, need)


def _check_flower(config: RunConfig, need: Need) -> None:
    """Settings of the Flower engine, and what it cannot do."""
    w, f = config.flower, config.federation
    need(
        w.nodes is None or 1 <= w.nodes <= f.clients,
        "flower.nodes",
        w.nodes,
        f"1 to federation.clients ({f.clients}), or null for one a client",
    )
    for key, value in (("timeout_s", w.timeout_s), ("connect_s", w.connect_s), ("settle_s", w.settle_s)):
        need(positive(value), f"flower.{key}", value, "seconds above 0")
    need(w.answers is None or w.answers >= 1, "flower.answers", w.answers, "1 or more, or null")
    if config.engine.name != "flower":
        return
    conditions = (
        (
            config.aggregation.backend == "smpc",
            f"aggregation.backend is {config.aggregation.backend}",
            "aggregation.backend smpc (ServerApp and SuperLink relay every message and must not read any)",
        ),
        (
            config.privacy.trust != "central",
            "privacy.trust is central",
            "privacy.trust distributed or local (the ServerApp would see each sum without its noise)",
        ),
        (
            config.simulation.noise == "per_client",
            f"simulation.noise is {config.simulation.noise!r}",
            "simulation.noise per_client (each client draws its own noise on its own node)",
        ),
        (
            config.engine.workers == 1,
            f"engine.workers is {config.engine.workers}",
            "engine.workers 1 (its clients compute on SuperNodes)",
        ),
    )
    need_all(need, "engine.name", "'flower'", "local", conditions)
