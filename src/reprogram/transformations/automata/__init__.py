"""What is done to a frozen automaton while it runs."""

from reprogram.transformations.automata.base import Intervention
from reprogram.transformations.automata.inject import Inject
from reprogram.transformations.automata.matrix import StateMatrix, combined, scaled

__all__ = ["Inject", "Intervention", "StateMatrix", "combined", "scaled"]
