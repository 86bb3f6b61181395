"""The digit network of the early days."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class LeNet(nn.Sequential):
    """Normalised 28 x 28 grey images to logits: two convolutions, two hidden layers.

    Names of the weights are those of the public pyribs classifier, which has ReLUs and maxima where
    the paper has sigmoids and averages. Its log-softmax is left out.

    Arguments:
        classes: Number of outputs.

    References:
        | Gradient-based learning applied to document recognition (LeCun, Bottou, Bengio, Haffner,
          1998), Proc. IEEE 86 (11)

    Example:
        >>> import torch
        >>> network, images = LeNet(), torch.zeros(2, 1, 28, 28)
        >>> network(images).shape, network.features(images).shape
        (torch.Size([2, 10]), torch.Size([2, 84]))
    """

    def __init__(self, *, classes: int = 10) -> None:
        super().__init__(
            nn.Conv2d(1, 6, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, 120), nn.ReLU(),
            nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, classes),
        )  # fmt: skip

    def features(self, x: Float[Tensor, "batch 1 28 28"]) -> Float[Tensor, "batch 84"]:
        """What enters the last layer."""
        for layer in list(self)[:-1]:
            x = layer(x)
        return x
