"""What every criterion promises."""

from __future__ import annotations

from torch import nn

from reprogram.types import SourceLike, TaskSpec


class Criterion(nn.Module):
    """(prediction, target, weight) -> one loss a sample; weight 0 means no label."""

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the shapes and the class counts."""
        del source, task

    def advance(self, step: int, steps: int) -> None:
        """Called after each step."""
        del step, steps
