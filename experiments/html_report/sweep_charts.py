"""The figures of several arms: accuracy by round, accuracy by epsilon and trust, epsilon by round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from experiments.arms import PRIVATE_TRUSTS, Arm, by_clients, trust_arms, trust_points
from experiments.figures import accuracy_limits, enlarged_limits, legend_names
from experiments.formatting import percent
from experiments.html_report.axis_numbers import as_epsilon, as_share, as_whole
from experiments.html_report.chart import Chart, Curve, Rule
from experiments.html_report.wording import bounded
from experiments.summary import extrapolates
from fl_core.privacy.views import VIEWS

__all__ = ["accuracy_charts", "epsilon_charts", "trust_charts"]


def accuracy_charts(arms: Sequence[Arm]) -> list[Chart]:
    """Mean accuracy by round and the band between repetitions, one figure a number of clients."""
    names = legend_names(arms)
    reached = [value for arm in arms for values in arm.by_round("accuracy").values() for value in values]
    if not reached:
        return []
    order, span = list(dict.fromkeys(names.values())), accuracy_limits(reached)
    charts = []
    for clients, chosen in by_clients(arms).items():
        curves = tuple(_accuracy(arm, names[arm.name], order.index(names[arm.name])) for arm in chosen)
        part = any(arm.untuned_level != arm.mean("accuracy_before") for arm in chosen)
        repeated = any(len(arm.runs) > 1 for arm in chosen)
        about = "Mean of the repetitions; the band is from the least to the most. " if repeated else ""
        about += "Curves are of a part of the test data, the numbers in the key of all of it." if part else ""
        untuned = f"untuned base: {percent(chosen[0].mean('accuracy_before'))}"
        chart = Chart(
            f"Accuracy by round, {clients:,} clients",
            about.strip(),
            "round",
            "test accuracy",
            tuple(curve for curve in curves if curve.points),
            as_whole,
            as_share(span),
            (Rule(untuned, chosen[0].untuned_level),),
            span_y=span,
        )
        if chart.curves:
            charts.append(chart)
    return charts + [_enlarged(chart) for chart in charts if span == (0.0, 1.0)]


def trust_charts(arms: Sequence[Arm]) -> list[Chart]:
    """Accuracy by epsilon, a curve a trust model, one figure a number of clients; none for a single trust model."""
    charts = []
    for clients, chosen in by_clients(trust_arms(arms)).items():
        curves = [
            curve for look, trust in enumerate(PRIVATE_TRUSTS) if (curve := _trust(chosen, trust, look)) is not None
        ]
        rules = [Rule(f"untuned base: {percent(chosen[0].mean('accuracy_before'))}", chosen[0].mean("accuracy_before"))]
        for arm in arms:
            if arm.clients == clients and arm.trust == "none":
                level = arm.mean("accuracy_after")
                rules.append(Rule(f"no privacy: {percent(level)}", level, dashed=False))
        reached = [y for curve in curves for _, y in curve.points] + [rule.y for rule in rules]
        margin = 0.06 * (max(reached) - min(reached)) or 0.01
        span = (max(0.0, min(reached) - margin), min(1.0, max(reached) + margin))
        charts.append(
            Chart(
                f"Accuracy by epsilon and trust, {clients:,} clients",
                "After the last round; bars are the standard deviation between repetitions. Each epsilon is that of "
                "the trust model’s own adversary.",
                "epsilon asked for",
                "test accuracy",
                tuple(curves),
                lambda value: f"{value:g}",
                as_share(span),
                tuple(rules),
                scale_x="log",
                span_y=span,
                x_ticks=tuple(sorted({x for curve in curves for x, _ in curve.points})),
            )
        )
    return charts


def epsilon_charts(arms: Sequence[Arm]) -> list[Chart]:
    """Epsilon spent by round, one figure a view, a curve a private arm; of the first run of each."""
    charts, arms = [], [arm for arm in arms if arm.summary["privacy"]["private"]]
    for view in VIEWS:
        curves = []
        for look, arm in enumerate(arms):
            rows = arm.runs[0][1]
            points = tuple((row["round"], value) for row in rows if (value := row.get(f"epsilon_{view}", 0)) > 0)
            if points:
                curves.append(Curve(arm.name, points, look))
        if curves:
            charts.append(
                Chart(
                    f"Epsilon by round, {view} view",
                    "",
                    "round",
                    "epsilon",
                    tuple(curves),
                    as_whole,
                    as_epsilon,
                    tuple(Rule(f"asked for: {value:g}", value) for value in _asked(arms, view)),
                    scale_y="log",
                )
            )
    return charts


def _accuracy(arm: Arm, name: str, look: int) -> Curve:
    found = arm.by_round("accuracy")
    points = tuple((number, sum(values) / len(values)) for number, values in found.items())
    band = tuple((number, min(values), max(values)) for number, values in found.items()) if len(arm.runs) > 1 else ()
    return Curve(f"{name}: {percent(arm.mean('accuracy_after'))}", points, look, band)


def _enlarged(chart: Chart) -> Chart:
    """The best five points of a chart whose curves end near its top."""
    best = max(y for curve in chart.curves for _, y in curve.points)
    span = enlarged_limits(best)
    rules = tuple(rule for rule in chart.rules if span[0] <= rule.y <= span[1])
    return replace(chart, title=f"{chart.title}, enlarged", rules=rules, span_y=span, show_y=as_share(span))


def _trust(arms: Sequence[Arm], trust: str, look: int) -> Curve | None:
    points = trust_points(arms, trust)
    if not points:
        return None
    return Curve(trust, tuple((x, y) for x, y, _ in points), look, spread=tuple(d for _, _, d in points), marked=True)


def _asked(arms: Sequence[Arm], view: str) -> list[float]:
    """The epsilons that arms are held to in a view, each once."""
    asked = {arm.epsilon_asked for arm in arms if bounded(arm.summary) == view and extrapolates(arm.summary) is None}
    return sorted(value for value in asked if value is not None)
