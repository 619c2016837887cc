"""Who adds how much noise: shares of the sum's for clients, all of it for each aggregator, or for the server alone.

Takes the mechanism, the trust model, the wanted noise multiplier z and who is there; gives a `NoisePlan` in grid
steps. Rounding is always toward more noise, and what was realised is read off the plan, never assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from secagg.errors import EncodingError
from secagg.noise_draws import INTEGER_MECHANISMS, whole_steps
from secagg.xnoise import component_stds

__all__ = ["NoisePlan", "plan_noise"]


@dataclass(frozen=True)
class NoisePlan:
    """Noise of one round, in grid steps.

    Attributes:
        mechanism: "gaussian" (rounded continuous), "discrete_gaussian" or "skellam".
        trust: "none", "central", "local" or "distributed".
        clip_steps: integer L2 bound of one protected contribution, C * s.
        client_std: standard deviation that each client adds, all components together; 0 if clients add none.
        server_std: standard deviation that the server adds after the opening; 0 unless central.
        shares: n_t, the number of honest noise-givers that the shares are sized for.
        aggregator_std: standard deviation that each aggregator adds to its share; 0 unless they add any.
        aggregators: how many do.
        components: XNoise: standard deviations of a client's components 0, 1, ...; of these, components 0 .. d stay
            in the sum when d of the expected clients vanish. Empty: all of a client's noise always stays.
        clients: XNoise: how many clients are expected.
    """

    mechanism: str
    trust: str
    clip_steps: int
    client_std: float
    server_std: float
    shares: int
    aggregator_std: float = 0.0
    aggregators: int = 0
    components: tuple[float, ...] = ()
    clients: int = 0

    def share_std(self, survivors: int) -> float:
        """Standard deviation of one client's noise in the opened sum of `survivors` messages."""
        if not self.components:
            return self.client_std
        dropped = self.clients - survivors
        return math.sqrt(math.fsum(std**2 for std in self.components[: dropped + 1]))

    def sum_std(self, survivors: int) -> float:
        """Standard deviation of the noise in the opened sum of `survivors` messages, whoever added it."""
        others = self.aggregators * self.aggregator_std**2 + self.server_std**2
        return math.sqrt(survivors * self.share_std(survivors) ** 2 + others)

    def sum_multiplier(self, survivors: int) -> float:
        """Realised noise multiplier of the sum of `survivors` messages: standard deviation over clip norm."""
        return self.sum_std(survivors) / self.clip_steps


def plan_noise(
    mechanism: str,
    trust: str,
    noise_multiplier: float,
    clip_steps: int,
    shares: int,
    *,
    by: str = "clients",
    aggregators: int = 0,
    dropout: str = "oversize",
    clients: int = 0,
    n_min: int = 0,
) -> NoisePlan:
    """Size the noise so that z = `noise_multiplier` is reached against each adversary that the trust model names.

    Local: each client adds `z C s`; central: the server does. Distributed, by clients: `shares` honest ones reach z,
    each by `z C s / sqrt(n_t)` (oversize: more survivors add more), or by XNoise, whose sum has the same noise at
    every drop-out. There the colluders' own share of it is made up for: of n - d survivors t collude, so honest noise
    is `V (n-d-t) / (n-d)`, which is least at d = D; hence V is `(z C s)^2 n_min / (n_min - t)`. Distributed, by
    aggregators: each adds `z C s`, enough while one of them is honest. Both: each of the two suffices by itself.

    Args:
        mechanism: "gaussian", "discrete_gaussian" or "skellam".
        trust: "none", "central", "local" or "distributed".
        noise_multiplier: z > 0 (ignored for trust none).
        clip_steps: C * s in grid steps.
        shares: n_t = n_min - colluders >= 1.
        by: "clients", "aggregators" or "both"; the last two with trust distributed only.
        aggregators: how many aggregators there are; read unless by clients.
        dropout: "oversize" or "xnoise".
        clients, n_min: expected clients and fewest survivors; read for xnoise.

    Raises:
        EncodingError: if a discrete share would be below 4 or above 2^30 grid steps, or XNoise is not possible.
    """
    wanted = noise_multiplier * clip_steps
    client = server = aggregator = 0.0
    components: tuple[float, ...] = ()
    if trust == "distributed":
        xnoise = dropout == "xnoise" and by != "aggregators"
        if xnoise and mechanism not in INTEGER_MECHANISMS:
            raise EncodingError(
                f"noise.dropout is xnoise with privacy.mechanism {mechanism}, whose draws differ between machines; "
                f"allowed: {', '.join(INTEGER_MECHANISMS)}"
            )
        if xnoise:
            components = component_stds(wanted * math.sqrt(n_min / shares), clients, clients - n_min, whole=True)
        elif by != "aggregators":
            client = wanted / math.sqrt(shares)
        if by != "clients":
            aggregator = wanted
    elif trust == "local":
        client = wanted
    elif trust == "central":
        server = wanted
    if mechanism in INTEGER_MECHANISMS:
        client = whole_steps(client, f"a noise share (for {shares} noise-givers)")
        server, aggregator = whole_steps(server, "the server's noise"), whole_steps(aggregator, "an aggregator's noise")
    if components:
        client = math.sqrt(math.fsum(std**2 for std in components))
    return NoisePlan(
        mechanism,
        trust,
        clip_steps,
        client,
        server,
        shares,
        aggregator_std=aggregator,
        aggregators=aggregators if aggregator else 0,
        components=components,
        clients=clients if components else 0,
    )
