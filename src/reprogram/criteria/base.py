"""What every criterion promises."""

from __future__ import annotations

from torch import Tensor, nn

from reprogram.types import SourceLike, TaskSpec


class Criterion(nn.Module):
    """(prediction, target, weight) -> one loss a sample; weight 0 means no label."""

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the shapes and the class counts."""
        del source, task

    def observe(self, prediction: Tensor, target: Tensor, weight: Tensor) -> None:
        """Told what a training batch came to, once a step; for what is trained beside a program."""
        del prediction, target, weight

    def advance(self, step: int, steps: int) -> None:
        """Called after each step."""
        del step, steps
