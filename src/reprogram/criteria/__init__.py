"""How wrong a prediction is: one loss a sample."""

from __future__ import annotations

from reprogram.criteria.adversarial import Adversarial
from reprogram.criteria.base import Criterion
from reprogram.criteria.classes import ClassWeights, CrossEntropy, Focal
from reprogram.criteria.squared import SquaredError

__all__ = ["Adversarial", "ClassWeights", "Criterion", "CrossEntropy", "Focal", "SquaredError"]
