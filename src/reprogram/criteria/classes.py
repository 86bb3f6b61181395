"""Losses of classes, each of which may be given a weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from reprogram.criteria.base import Criterion
from reprogram.types import SourceLike, TaskSpec, UserError

ClassWeights = Literal["balanced"] | Sequence[float] | None


class _Weighted(Criterion):
    """With a weight for each class: ``class_weight`` (targets,), or ``None``."""

    class_weight: Tensor | None

    def __init__(self, class_weights: ClassWeights) -> None:
        super().__init__()
        if isinstance(class_weights, str) and class_weights != "balanced":
            raise UserError(
                f"argument 'class_weights' is {class_weights!r}; give 'balanced' or one weight for "
                "each class"
            )
        self.class_weights = class_weights
        self.register_buffer("class_weight", None, persistent=False)

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Compute the class weights.

        Raises:
            UserError: if their number is not that of the classes, or the task has no counts.
        """
        del source
        if self.class_weights is None:
            return
        if task.target == "labels":
            raise UserError(f"argument 'class_weights' is for classes; {task.name} asks for labels")
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


class CrossEntropy(_Weighted):
    """Cross-entropy of log-scores, which it renormalises over the target classes.

    What a task asks for shows in the shapes: a class (batch,) or tokens (batch, places) for scores
    with one axis more, the classes; yes or no (batch, labels) to each label for as many logits of
    yes. A sample's loss is the sum over its places or labels, each times its weight.

    Arguments:
        class_weights: A weight for each class; ``"balanced"`` for ``n / (T * count)``.
        label_smoothing: Share of the label spread over all classes, in [0, 1).

    Raises:
        UserError: if an argument is out of its range.

    Example:
        >>> from reprogram.types import InputSpec
        >>> criterion = CrossEntropy()
        >>> criterion(torch.zeros(2, 4), torch.tensor([0, 3]), torch.tensor([1.0, 0.0]))
        tensor([1.3863, 0.0000])
        >>> yes_and_no, labelled = torch.tensor([[1, 0], [1, 0]]), torch.tensor([[1.0, 1], [1, 0]])
        >>> criterion(torch.zeros(2, 2), yes_and_no, labelled)
        tensor([1.3863, 0.6931])
    """

    def __init__(
        self,
        *,
        class_weights: ClassWeights = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(class_weights)
        if not 0 <= label_smoothing < 1:
            raise UserError(f"argument 'label_smoothing' is {label_smoothing}; give [0, 1)")
        self.label_smoothing = label_smoothing

    def forward(
        self,
        prediction: Float[Tensor, "batch ..."],
        target: Int[Tensor, "batch ..."],
        weight: Float[Tensor, "batch ..."],
    ) -> Float[Tensor, " batch"]:
        """One loss a sample, times its weight."""
        if prediction.ndim == target.ndim:
            yes = target.to(prediction.dtype)
            smooth = yes * (1 - self.label_smoothing) + self.label_smoothing / 2
            losses = F.binary_cross_entropy_with_logits(prediction, smooth, reduction="none")
        else:
            losses = F.cross_entropy(
                prediction.movedim(-1, 1),
                target,
                weight=self.class_weight,
                label_smoothing=self.label_smoothing,
                reduction="none",
            )
        return (losses * weight).flatten(1).sum(1) if target.ndim > 1 else losses * weight


class Focal(_Weighted):
    """Cross-entropy that turns away from the samples that are right already.

    ``-w_y (1 - h_y)^gamma log h_y``, where ``h`` are the log-scores renormalised over the target
    classes, as :class:`CrossEntropy` does; it is that for ``gamma = 0``.

    References:
        | Focal Loss for Dense Object Detection (Lin, Goyal, Girshick, He, Dollár, 2017), eq. 5.
          https://arxiv.org/abs/1708.02002
        | Transfer Learning without Knowing (Tsai, Chen, Ho, 2020), with ``gamma = 2`` and
          ``class_weights="balanced"``. https://arxiv.org/abs/2007.08714

    Arguments:
        gamma: How fast a right sample loses its say, >= 0.
        class_weights: A weight for each class; ``"balanced"`` for ``n / (T * count)``.

    Raises:
        UserError: if an argument is out of its range.

    Example:
        >>> scores = torch.tensor([[0.5, 0.5], [0.9, 0.1]]).log()
        >>> Focal(gamma=2.0)(scores, torch.tensor([0, 0]), torch.ones(2))
        tensor([0.1733, 0.0011])
    """

    def __init__(self, *, gamma: float = 2.0, class_weights: ClassWeights = None) -> None:
        super().__init__(class_weights)
        if not 0 <= gamma < math.inf:
            raise UserError(f"argument 'gamma' is {gamma}; give 0 or more")
        self.gamma = gamma

    def forward(
        self,
        prediction: Float[Tensor, "batch targets"],
        target: Int[Tensor, " batch"],
        weight: Float[Tensor, " batch"],
    ) -> Float[Tensor, " batch"]:
        """One loss a sample, times its weight."""
        log_h = F.log_softmax(prediction, 1)
        right = F.one_hot(target, prediction.shape[1]).bool()
        # log(1 - h) from the other classes: 1 - h itself is 0 where h rounds to 1
        log_rest = log_h.masked_fill(right, -math.inf).logsumexp(1)
        losses = -(self.gamma * log_rest).exp() * log_h[right]  # eq. (5)
        if self.class_weight is not None:
            losses = losses * self.class_weight[target]
        return losses * weight
