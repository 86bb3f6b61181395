"""Will it work, and was it the pre-training? Controls that every result is shown beside."""

from reprogram.diagnose.automata import lasting, published, stability, untouched
from reprogram.diagnose.classical import boosting, logistic
from reprogram.diagnose.controls import (
    linear_probe,
    majority,
    mapping_alone,
    probe_queries,
    random_source,
    scratch,
)
from reprogram.diagnose.generators import conditional_gan, real, rejection
from reprogram.diagnose.infill import diversity, infilling, propose, recovery
from reprogram.diagnose.suite import controls
from reprogram.diagnose.text import fingerprints, ngrams, positional

__all__ = [
    "boosting",
    "conditional_gan",
    "controls",
    "diversity",
    "fingerprints",
    "infilling",
    "lasting",
    "linear_probe",
    "logistic",
    "majority",
    "mapping_alone",
    "ngrams",
    "positional",
    "probe_queries",
    "propose",
    "published",
    "random_source",
    "real",
    "recovery",
    "rejection",
    "scratch",
    "stability",
    "untouched",
]
