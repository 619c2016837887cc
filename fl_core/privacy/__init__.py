"""Privacy accounting: what ran, what it costs against whom, how much noise a target needs, and the ledger."""

from fl_core.privacy.accountant import Epsilon, choose_accountant, epsilon, idealised
from fl_core.privacy.calibration import calibrate, calibrate_event
from fl_core.privacy.events import MechanismEvent, PrivacyError, parse_history
from fl_core.privacy.joint import Joint, add_up
from fl_core.privacy.ledger import Ledger, LedgerError, LedgerHeader, Opening, read_ledger, summarise_ledger
from fl_core.privacy.rdp import ORDERS, epsilon_from_rdp, rdp_of

__all__ = [
    "ORDERS",
    "Epsilon",
    "Joint",
    "Ledger",
    "LedgerError",
    "LedgerHeader",
    "MechanismEvent",
    "Opening",
    "PrivacyError",
    "add_up",
    "calibrate",
    "calibrate_event",
    "choose_accountant",
    "epsilon",
    "epsilon_from_rdp",
    "idealised",
    "parse_history",
    "rdp_of",
    "read_ledger",
    "summarise_ledger",
]
