"""Neural cellular automata: rules of a cell, runs of a rule, and sources made of them."""

from reprogram.sources.automata.digit import DigitCell
from reprogram.sources.automata.growing import GrowingCell
from reprogram.sources.automata.rollout import Rollout
from reprogram.sources.automata.source import AutomatonSource, automaton_source

__all__ = ["AutomatonSource", "DigitCell", "GrowingCell", "Rollout", "automaton_source"]
