"""What a party refuses whatever a coordinator asks: rounds outside the limits of its own copy of the deployment.

Ours and not independently reviewed.
"""

from __future__ import annotations

from secagg.deployment.terms import Deployment
from secagg.messages import RoundSpec
from secagg.openings import OpeningRefused
from secagg.party.norm_check import MAX_NORM_BOUND

__all__ = ["refuse_by_policy"]


def refuse_by_policy(spec: RoundSpec, deployment: Deployment) -> None:
    """Refuse a round that the deployment's policy does not allow.

    Raises:
        OpeningRefused: for too low an `n_min`, too many clients or coordinates, or a norm check that cannot be.
    """
    policy = deployment.policy
    if spec.n_min < policy.n_min:
        raise OpeningRefused(f"a round with n_min {spec.n_min}; this party opens no sum of fewer than {policy.n_min}")
    if spec.length > policy.max_length or len(spec.clients) > policy.max_clients:
        raise OpeningRefused(
            f"a round of {len(spec.clients)} clients and length {spec.length}; this party allows "
            f"{policy.max_clients} clients and length {policy.max_length}"
        )
    if spec.norm_bound > MAX_NORM_BOUND:
        raise OpeningRefused(f"a norm check against {spec.norm_bound} grid steps; allowed: up to {MAX_NORM_BOUND}")
    if spec.norm_bound and deployment.dealer is None:
        raise OpeningRefused("a round with a norm check; this deployment has no dealer")
