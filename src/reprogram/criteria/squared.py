"""The squared error, of cells and of images."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from reprogram.criteria.base import Criterion


class SquaredError(Criterion):
    """How far a prediction is from what it should be, squared.

    What a task asks for shows in the shapes. Where every cell has a class (batch, height, width)
    and a score of each class, half the sum over cells and classes of ``(one-hot - score)^2``, each
    cell times its weight. Where an image is asked for, the mean over pixels and channels, times the
    sum of the sample's weights, which is 1 or 0.

    References:
        | Self-classifying MNIST digits (Randazzo, Mordvintsev, Niklasson, Levin, Greydanus, 2020),
          Distill, doi:10.23915/distill.00027.002

    Example:
        >>> import torch
        >>> scores = torch.tensor([[[[1.0, 0.0], [1.0, 3.0]]]])  # of two cells
        >>> SquaredError()(scores, torch.tensor([[[0, 0]]]), torch.ones(1, 1, 2))
        tensor([4.5000])
        >>> SquaredError()(torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.ones(1, 1))
        tensor([1.])
    """

    def forward(
        self,
        prediction: Float[Tensor, "batch ..."],
        target: Tensor,
        weight: Float[Tensor, "batch ..."],
    ) -> Float[Tensor, " batch"]:
        """One loss a sample, times its weight."""
        if prediction.ndim == target.ndim:
            return (prediction - target).square().flatten(1).mean(1) * weight.flatten(1).sum(1)
        wanted = F.one_hot(target, prediction.shape[-1]).to(prediction.dtype)
        return ((wanted - prediction).square().sum(-1) * weight).flatten(1).sum(1) / 2
