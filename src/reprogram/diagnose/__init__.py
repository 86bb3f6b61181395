"""Will it work, and was it the pre-training? Controls that every result is shown beside."""

from reprogram.diagnose.classical import boosting, logistic
from reprogram.diagnose.controls import (
    controls,
    linear_probe,
    linear_probe_metrics,
    majority,
    majority_metrics,
    random_source,
    random_source_metrics,
    scratch,
    scratch_metrics,
)

__all__ = [
    "boosting",
    "controls",
    "linear_probe",
    "linear_probe_metrics",
    "logistic",
    "majority",
    "majority_metrics",
    "random_source",
    "random_source_metrics",
    "scratch",
    "scratch_metrics",
]
