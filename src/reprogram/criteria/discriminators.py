"""Networks that tell a real image of a class from a generated one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from reprogram.types import UserError

SLOPE = 0.2  # of the leaky ReLUs
SMALL = 8  # the side down to which images are halved
Kind = Literal["residual", "plain"]


class Block(nn.Module):
    """Two convolutions beside a shortcut without weights; the second may halve the image."""

    def __init__(self, width: int, *, halve: bool = False) -> None:
        super().__init__()
        self.halve = halve
        self.first = spectral_norm(nn.Conv2d(width, width, 3, padding=1))
        self.second = spectral_norm(_conv(width, width, halve))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, width, h, w) -> the same, or (batch, width, h // 2, w // 2)."""
        y = self.second(F.leaky_relu(self.first(F.leaky_relu(x, SLOPE)), SLOPE))
        return y + (F.avg_pool2d(x, 2) if self.halve else x)


class Discriminator(nn.Module):
    """Images in [0, 1] to a score for each class: real above, generated below.

    A convolution and residual blocks, each layer divided by its largest singular value; they halve
    the image down to a side of at most 8. The sum over places meets a linear layer with a row for
    each class. The paper's network has 128 channels and does not halve in its first layer; this
    one, at 32, takes a fiftieth of its work.

    References:
        | Spectral Normalization for Generative Adversarial Networks (Miyato, Kataoka, Koyama,
          Yoshida, 2018), table 4. https://arxiv.org/abs/1802.05957

    Arguments:
        shape: Channels, height and width of an image; each side >= 4.
        classes: Rows of the last layer.
        width: Channels, >= 1.
        blocks: Residual blocks behind those that halve, >= 0.

    Raises:
        UserError: if an image is too small, or a side longer than 4 times the other.

    Example:
        >>> Discriminator((1, 28, 28), 10, width=4)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self, shape: Sequence[int], classes: int, *, width: int = 32, blocks: int = 1
    ) -> None:
        super().__init__()
        channels, *sides = _large(shape)
        side = max(sides)
        layers: list[nn.Module] = [spectral_norm(_conv(channels, width, side > SMALL))]
        while (side := side // 2 if side > SMALL else 0) > SMALL:
            layers.append(Block(width, halve=True))
        layers += [Block(width) for _ in range(blocks)]
        self.trunk = nn.Sequential(*layers)
        self.head = spectral_norm(nn.Linear(width, classes))

    def forward(
        self, x: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """A score for each class."""
        h = F.leaky_relu(self.trunk(2 * x - 1), SLOPE)
        return self.head(h.sum((2, 3)))


class Plain(nn.Sequential):
    """Images in [0, 1] to a score for each class, by convolutions that halve, down to a side of 4.

    Each has twice the channels of the one before, up to four times ``width``, and the linear layer
    reads every place. A generator that learns to draw only now keeps some variety against this one,
    where against :class:`Discriminator`, at this size, it ended at about one image for each class.

    References:
        | Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
          Networks (Radford, Metz, Chintala, 2015), here with spectral norm in place of batch-norm.
          https://arxiv.org/abs/1511.06434

    Arguments:
        shape: Channels, height and width of an image; each side >= 4.
        classes: Rows of the last layer.
        width: Channels of the first layer, >= 1.

    Raises:
        UserError: if an image is too small, or a side longer than 4 times the other.

    Example:
        >>> Plain((1, 28, 28), 10, width=4)(torch.rand(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, shape: Sequence[int], classes: int, *, width: int = 32) -> None:
        given, *sides = _large(shape)
        layers: list[nn.Module] = []
        made = width
        while not layers or max(sides) > 4:
            size = 3 if any(side % 2 for side in sides) else 4
            layer = nn.Conv2d(given, made, size, stride=2, padding=1)
            layers += [spectral_norm(layer), nn.LeakyReLU(0.1)]
            sides = [(side + 2 - size) // 2 + 1 for side in sides]
            given, made = made, min(2 * made, 4 * width)
        places = sides[0] * sides[1]
        super().__init__(*layers, nn.Flatten(), spectral_norm(nn.Linear(given * places, classes)))


NETWORKS: dict[str, type[nn.Module]] = {"residual": Discriminator, "plain": Plain}


class SharedHeads(nn.Module):
    """One discriminator with a row of its last layer for each class.

    Arguments:
        shape: Channels, height and width of an image.
        classes: Rows of the last layer.
        width: Channels of the network.
        network: Which one.

    Example:
        >>> heads = SharedHeads((1, 8, 8), 3, width=4)
        >>> heads(torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 2, 0])).shape
        torch.Size([5])
    """

    def __init__(
        self, shape: Sequence[int], classes: int, *, width: int, network: Kind = "residual"
    ) -> None:
        super().__init__()
        self.network = NETWORKS[network](shape, classes, width=width)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], y: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """The score ``D_y(x)``."""
        return self.network(x).gather(1, y[:, None])[:, 0]


class SeparateHeads(nn.Module):
    """A discriminator for each class, which sees nothing of the others.

    Arguments:
        shape: Channels, height and width of an image.
        classes: How many.
        width: Channels of each network.
        network: Which one.

    Example:
        >>> heads = SeparateHeads((1, 8, 8), 3, width=4)
        >>> heads(torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 2, 0])).shape
        torch.Size([5])
    """

    def __init__(
        self, shape: Sequence[int], classes: int, *, width: int, network: Kind = "residual"
    ) -> None:
        super().__init__()
        made = (NETWORKS[network](shape, 1, width=width) for _ in range(classes))
        self.networks = nn.ModuleList(made)

    def forward(
        self, x: Float[Tensor, "batch channels height width"], y: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """The score ``D_y(x)``; a network whose class is not there takes no part."""
        order = y.argsort(stable=True)
        counts = torch.bincount(y, minlength=len(self.networks)).tolist()
        parts = zip(self.networks, x[order].split(counts), strict=True)
        scores = torch.cat([network(own)[:, 0] for network, own in parts if len(own)])
        return scores[order.argsort()]


def _large(shape: Sequence[int]) -> Sequence[int]:
    """The shape of an image, if it can be halved often enough."""
    if len(shape) != 3 or min(shape[1:]) < 4 or max(shape[1:]) > 4 * min(shape[1:]):
        raise UserError("a discriminator reads images of at least 4 x 4 pixels, no side longer "
                        f"than 4 times the other; these are {tuple(shape)}")  # fmt: skip
    return shape


def _conv(channels: int, width: int, halve: bool) -> nn.Conv2d:
    """One that keeps the image's size, or halves it."""
    size, stride = (4, 2) if halve else (3, 1)
    return nn.Conv2d(channels, width, size, stride=stride, padding=1)
