"""Source output -> target prediction: the part of a program that stands behind the source.

The list ``__all__`` is the registry: a saved program may name these and what other packages
announce under the entry point group ``reprogram.mappings``, and nothing else.
"""

from reprogram.mappings.base import Mapping
from reprogram.mappings.bayesian import Bayesian
from reprogram.mappings.cells import CellScores
from reprogram.mappings.discriminant import Discriminant
from reprogram.mappings.fixed import Fixed, ManyToOne
from reprogram.mappings.frequency import Frequency, Iterative
from reprogram.mappings.linear import Linear
from reprogram.mappings.logistic import Logistic
from reprogram.mappings.pixels import Pixels
from reprogram.mappings.ranked import Ranked
from reprogram.mappings.semantic import Semantic
from reprogram.mappings.tokens import TokenLinear
from reprogram.mappings.verbalizer import Verbalizer

__all__ = [
    "Bayesian",
    "CellScores",
    "Discriminant",
    "Fixed",
    "Frequency",
    "Iterative",
    "Linear",
    "Logistic",
    "ManyToOne",
    "Mapping",
    "Pixels",
    "Ranked",
    "Semantic",
    "TokenLinear",
    "Verbalizer",
]
