"""How wrong a prediction is: one loss a sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.types import SourceLike, TaskSpec, UserError

__all__ = ["ClassWeights", "Criterion", "CrossEntropy"]

ClassWeights = Literal["balanced"] | Sequence[float] | None


class Criterion(nn.Module):
    """(prediction, target, weight) -> one loss a sample; weight 0 means no label."""

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the shapes and the class counts."""
        del source, task

    def advance(self, step: int, steps: int) -> None:
        """Called after each step."""
        del step, steps


class CrossEntropy(Criterion):
    """Cross-entropy of log-scores, which it renormalises over the target classes.

    Arguments:
        class_weights: A weight for each class; ``"balanced"`` for ``n / (T * count)``.
        label_smoothing: Share of the label spread over all classes, in [0, 1).

    Example:
        >>> from reprogram.types import InputSpec
        >>> criterion = CrossEntropy()
        >>> criterion(torch.zeros(2, 4), torch.tensor([0, 3]), torch.tensor([1.0, 0.0]))
        tensor([1.3863, 0.0000])
    """

    class_weight: Tensor | None

    def __init__(
        self,
        *,
        class_weights: ClassWeights = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        if isinstance(class_weights, str) and class_weights != "balanced":
            raise UserError(
                f"argument 'class_weights' is {class_weights!r}; give 'balanced' or one weight for "
                "each class"
            )
        if not 0 <= label_smoothing < 1:
            raise UserError(f"argument 'label_smoothing' is {label_smoothing}; give [0, 1)")
        self.class_weights, self.label_smoothing = class_weights, label_smoothing
        self.register_buffer("class_weight", None, persistent=False)

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Compute the class weights.

        Raises:
            UserError: if their number is not that of the classes, or the task has no counts.
        """
        del source
        if self.class_weights is None:
            return
        if self.class_weights == "balanced":
            if len(task.counts) != len(task.classes):
                raise UserError(
                    f"{task.name} does not say how many samples each class has; give the weights"
                )
            counts = torch.tensor(task.counts).float().clamp_min(1)  # a fold may lack a class
            self.class_weight = counts.sum() / (len(counts) * counts)
            return
        if len(self.class_weights) != len(task.classes):
            raise UserError(
                f"argument 'class_weights' has {len(self.class_weights)} values for "
                f"{len(task.classes)} classes"
            )
        self.class_weight = torch.tensor(self.class_weights, dtype=torch.float)

    def forward(
        self,
        prediction: Float[Tensor, "batch targets"],
        target: Int[Tensor, " batch"],
        weight: Float[Tensor, " batch"],
    ) -> Float[Tensor, " batch"]:
        """One loss a sample, times its weight."""
        losses = F.cross_entropy(
            prediction,
            target,
            weight=self.class_weight,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return losses * weight
