"""Checks of the parties that several attacks meet, each with what takes it away."""

from __future__ import annotations

from bench.attacks.attack import Check
from secagg import envelope_header
from secagg.openings import Openings

__all__ = ["CLOSE_SETS", "ONCE", "TERMS"]

_ANY_SETS = (Openings, "refuse_close_sets", lambda self, spec, clients, least=None: None)

CLOSE_SETS = Check("the rule of close sets", (_ANY_SETS,))
ONCE = Check(
    "the rule that an attempt is opened once, and that of close sets",
    ((Openings, "refuse_again", lambda self, spec: None), _ANY_SETS),
)
TERMS = Check("the digest of terms in every part", ((envelope_header, "deployment_terms", lambda *_: bytes(32)),))
