"""Which recipe, which source, which numbers: chosen on validation, never on test."""

from reprogram.search.choose import Candidate, choose, validate

__all__ = ["Candidate", "choose", "validate"]
