"""Generators of images as sources: noise in, images out."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.sources.base import TorchSource
from reprogram.types import InputSpec, OutputSpec, UserError


class DigitsGenerator(nn.Sequential):
    """Noise to 28 x 28 grey images in [0, 1]: a linear layer, two transposed convolutions.

    Arguments:
        noise: Length of the noise.
        width: Channels of the 7 x 7 map; the 14 x 14 one has half of them.

    References:
        | Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
          Networks (Radford, Metz, Chintala, 2015), arXiv 1511.06434, smaller

    Example:
        >>> DigitsGenerator()(torch.zeros(2, 64)).shape
        torch.Size([2, 1, 28, 28])
    """

    def __init__(self, *, noise: int = 64, width: int = 96) -> None:
        half = width // 2
        super().__init__(
            nn.Linear(noise, 49 * width, bias=False), nn.Unflatten(1, (width, 7, 7)),
            nn.BatchNorm2d(width), nn.ReLU(),
            nn.ConvTranspose2d(width, half, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(half), nn.ReLU(),
            nn.ConvTranspose2d(half, 1, 4, stride=2, padding=1), nn.Sigmoid(),
        )  # fmt: skip


class MLPGenerator(nn.Sequential):
    """Noise to flat images in [-1, 1]: two hidden layers of the same width.

    Names of the weights are those of the public generator of csinva.

    Arguments:
        noise: Length of the noise.
        hidden: Width of the hidden layers.
        pixels: Numbers of an image.

    References:
        | Generative Adversarial Networks (Goodfellow and others, 2014), arXiv 1406.2661

    Example:
        >>> MLPGenerator()(torch.zeros(2, 64)).shape
        torch.Size([2, 784])
    """

    def __init__(self, *, noise: int = 64, hidden: int = 256, pixels: int = 784) -> None:
        super().__init__(
            nn.Linear(noise, hidden), nn.ReLU(),
            nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, pixels), nn.Tanh(),
        )  # fmt: skip


class Pictures(nn.Module):
    """What a generator gives, as images in [0, 1].

    Arguments:
        shape: Channels, height and width of an image.
        lower: What the generator means by black.
        upper: What it means by white.

    Example:
        >>> Pictures(shape=(1, 1, 2), lower=-1, upper=1)(torch.tensor([[-1.0, 1.0]]))
        tensor([[[[0., 1.]]]])
    """

    lower: Tensor
    upper: Tensor

    def __init__(self, *, shape: tuple[int, int, int], lower: float, upper: float) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("lower", torch.tensor(float(lower)))  # a fingerprint hashes both
        self.register_buffer("upper", torch.tensor(float(upper)))

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch c h w"]:
        """(batch, channels, height, width), or flat, in the generator's range -> in [0, 1]."""
        return (x.reshape(len(x), *self.shape) - self.lower) / (self.upper - self.lower)


def generator_source(
    module: nn.Module, *, noise: int, image: tuple[int, int, int],
    lower: float = -1.0, upper: float = 1.0, uri: str | None = None,
) -> TorchSource:  # fmt: skip
    """A generator, frozen in place: standard normal noise in, images in [0, 1] out.

    Arguments:
        module: Noise (batch, noise) to images (batch, channels, height, width), or to flat ones
            (batch, channels * height * width); its last layer holds them within the bounds.
        noise: Length of the noise.
        image: Channels, height and width of an image.
        lower: Smallest value of its pixels: -1 behind a tanh, 0 behind a sigmoid.
        upper: Largest value.
        uri: Under which name a saved program finds it again.

    Raises:
        UserError: if the generator takes no such noise, or gives no such images within the bounds;
            one sample is tried.

    Example:
        >>> module = nn.Sequential(nn.Linear(8, 12), nn.Tanh())
        >>> source = generator_source(module, noise=8, image=(3, 2, 2))
        >>> source(torch.randn(5, 8)).shape
        torch.Size([5, 3, 2, 2])
    """
    if not lower < upper:
        raise UserError(f"argument 'lower' is {lower} and 'upper' {upper}; the range of a "
                        "generator's pixels rises, such as -1 to 1")  # fmt: skip
    if noise < 1:
        raise UserError(f"argument 'noise' is {noise}; a generator takes 1 number or more")
    pictures = Pictures(shape=image, lower=lower, upper=upper)
    source = TorchSource(
        nn.Sequential(module, pictures), OutputSpec("image", tuple(image)),
        input=InputSpec("noise", (noise,)), uri=uri,
    )  # fmt: skip
    _try(source, module, pictures)
    return source


@torch.no_grad()
def _try(source: TorchSource, module: nn.Module, pictures: Pictures) -> None:
    (noise,) = source.input.shape
    weight = next(source.parameters(), torch.empty(0))
    x = torch.zeros(1, noise, device=weight.device, dtype=weight.dtype)  # in the middle: no draw
    try:
        y = module(x)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        taken = _taken(module)
        if taken not in (None, noise):
            raise UserError(f"argument 'noise' is {noise}, but the generator's first layer takes "
                            f"{taken}; give noise={taken}") from None  # fmt: skip
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"argument 'module' takes no noise of the shape (batch, {noise}): {reason}; "
            "give one that does, or put a layer in front that reshapes"
        ) from None
    size = math.prod(pictures.shape)
    told = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
    if not isinstance(y, Tensor) or y.numel() != size or len(y) != 1:
        raise UserError(f"argument 'image' is {pictures.shape}, {size} numbers, but the generator "
                        f"makes {told} of one sample; give the shape of its images")  # fmt: skip
    lower, upper = pictures.lower.item(), pictures.upper.item()
    smallest, largest = y.min().item(), y.max().item()
    margin = 1e-3 * (upper - lower)
    if not (lower - margin <= smallest and largest <= upper + margin):
        raise UserError(f"arguments 'lower' and 'upper' are {lower:g} and {upper:g}, but the "
                        f"generator makes pixels from {smallest:.3g} to {largest:.3g}; give the "
                        "range of its last layer, such as -1 and 1 of a tanh")  # fmt: skip


def _taken(module: nn.Module) -> int | None:
    """How many numbers the first layer with weights takes, where it says so."""
    for layer in module.modules():
        size = getattr(layer, "in_features", None) or getattr(layer, "in_channels", None)
        if isinstance(size, int):
            return size
    return None
