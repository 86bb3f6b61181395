"""A small residual network for 32 x 32 images: the CIFAR network of the residual-learning paper."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.types import UserError


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut without weights.

    Where the block halves the image, the shortcut takes every second pixel and pads the new
    channels with zeros (option A of the paper).

    Arguments:
        channels: Of the input.
        width: Of the output.
        stride: 1, or 2 to halve the image.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.stride, self.padding = stride, (width - channels) // 2

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, side, side) -> (batch, width, side / stride, side / stride)."""
        y = _normed(self.conv1, self.bn1, x).relu()
        y = _normed(self.conv2, self.bn2, y)
        shortcut = x[:, :, :: self.stride, :: self.stride]
        shortcut = nn.functional.pad(shortcut, (0, 0, 0, 0, self.padding, self.padding))
        return (y + shortcut).relu()


class ResidualNetwork(nn.Module):
    """Normalised 32 x 32 images to logits: ResNet-20, -32, -44, -56 or -110 for CIFAR.

    Names of the weights are those of the public ``pytorch_resnet_cifar10`` networks.

    Arguments:
        depth: Layers with weights: 6 n + 2.
        classes: Number of outputs.

    Raises:
        UserError: if ``depth`` is not 6 n + 2.

    References:
        | Deep residual learning for image recognition (He, Zhang, Ren, Sun, 2015), arXiv 1512.03385

    Example:
        >>> import torch
        >>> network, images = ResidualNetwork(depth=20, classes=10), torch.zeros(2, 3, 32, 32)
        >>> network(images).shape, network.features(images).shape
        (torch.Size([2, 10]), torch.Size([2, 64]))
    """

    def __init__(self, *, depth: int = 20, classes: int = 10) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise UserError(f"argument 'depth' is {depth}; it must be 6 n + 2: 20, 32, 44, 56, 110")
        count = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _blocks(16, 16, count, stride=1)
        self.layer2 = _blocks(16, 32, count, stride=2)
        self.layer3 = _blocks(32, 64, count, stride=2)
        self.linear = nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def features(self, x: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch 64"]:
        """What enters the last layer."""
        x = x.contiguous(memory_format=torch.channels_last)  # quicker on a CPU, the same numbers
        x = _normed(self.conv1, self.bn1, x).relu()
        x = self.layer3(self.layer2(self.layer1(x)))  # (batch, 64, side / 4, side / 4)
        return x.mean((2, 3))

    def forward(self, x: Float[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch classes"]:
        """(batch, 3, 32, 32) -> logits (batch, classes)."""
        return self.linear(self.features(x))


def _blocks(channels: int, width: int, count: int, *, stride: int) -> nn.Sequential:
    first = Block(channels, width, stride)
    return nn.Sequential(first, *(Block(width, width, 1) for _ in range(count - 1)))


def _normed(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    """``norm(conv(x))``; of frozen layers as one convolution, which is quicker both ways."""
    if norm.training or conv.weight.requires_grad:
        return norm(conv(x))
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()  # pyright: ignore
    shift = norm.bias - norm.running_mean * scale  # pyright: ignore
    weight = (conv.weight * scale[:, None, None, None]).contiguous(
        memory_format=torch.channels_last
    )
    return F.conv2d(x, weight, shift, conv.stride, conv.padding)  # pyright: ignore
