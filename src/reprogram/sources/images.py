"""What every source of images has in front of its network: a normalisation, and two doors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.sources.base import Stage, TorchSource
from reprogram.types import InputSpec, OutputSpec


class Normalise(nn.Module):
    """Images in [0, 1] less the mean of each channel, over its standard deviation.

    Arguments:
        mean: One value for each channel.
        std: One value for each channel.

    Example:
        >>> Normalise(mean=[0.5], std=[0.25])(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """(batch, channels, height, width) -> the same."""
        return (x - self.mean) / self.std


def image_stages(
    network: nn.Module, *, shape: tuple[int, int, int], mean: Sequence[float], std: Sequence[float]
) -> list[Stage]:
    """The chain ``image -> normalised -> network``.

    Arguments:
        network: Takes normalised images.
        shape: Channels, height and width of an image.
        mean: Of the training images, for each channel, in [0, 1].
        std: Likewise.
    """
    image = InputSpec("image", shape, lower=0.0, upper=1.0)
    # The range of every channel holds: the widest that all of them allow.
    lower = max(-m / s for m, s in zip(mean, std, strict=True))
    upper = min((1 - m) / s for m, s in zip(mean, std, strict=True))
    normalised = InputSpec("image", shape, lower=lower, upper=upper, normalised=True)
    return [
        Stage("image", image, Normalise(mean=mean, std=std)),
        Stage("normalised", normalised, network),
    ]


def image_source(
    network: nn.Module, names: Sequence[str], *, shape: tuple[int, int, int],
    mean: Sequence[float], std: Sequence[float], uri: str | None = None,
) -> TorchSource:  # fmt: skip
    """A classifier behind its normalisation, frozen, with the doors ``image`` and ``normalised``.

    Arguments:
        network: Normalised images to logits (batch, classes).
        names: Names of its classes, in order.
        shape: Channels, height and width of an image.
        mean: Of the training images, for each channel, in [0, 1].
        std: Likewise.
        uri: Under which name a saved program finds it again.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        >>> source = image_source(
        ...     network, ("cat", "dog"), shape=(3, 2, 2), mean=[0.5] * 3, std=[0.25] * 3)
        >>> source.doors, source.door("normalised").input.upper
        (('image', 'normalised'), 2.0)
    """
    stages = image_stages(network, shape=shape, mean=mean, std=std)
    return TorchSource(stages, OutputSpec("classes", (len(names),), tuple(names)), uri=uri)
