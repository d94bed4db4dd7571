"""The first job: traits token by token, calibrated, with the points where they change."""

from personascope.watching.calibration import Calibration, calibrate
from personascope.watching.decision_points import DecisionPoint, DecisionRule
from personascope.watching.verify import Verdict, verify
from personascope.watching.watch import Watch, Watched, watch

__all__ = [
    "Calibration",
    "DecisionPoint",
    "DecisionRule",
    "Verdict",
    "Watch",
    "Watched",
    "calibrate",
    "verify",
    "watch",
]
