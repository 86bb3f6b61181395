"""A pattern under a mask that a small network draws for each sample."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.transformations.image import as_channels
from reprogram.transformations.overlay import Added, Limit
from reprogram.types import SourceLike, TaskSpec, UserError

WIDTHS = (8, 16, 32, 64, 128)


class SampleMask(Added):
    """A shared pattern, weighted for each sample by a mask network that sees the image.

    ``f_in = r(x) + delta * f_mask(r(x) | phi)``: ``r`` resizes (put ``Resize`` before), ``delta``
    is a pattern over the whole image, and ``f_mask`` is a network of 3 x 3 convolutions with
    batch-norm and relu whose max-pools shrink the image by ``patch``; each of its values, which
    nothing bounds, holds for a patch of ``patch`` by ``patch`` pixels.

    ``delta`` starts at zero, so the first step has no gradient for ``phi``.

    References:
        | Sample-specific Masks for Visual Reprogramming-based Prompting (Cai, Ye, Feng, Qi, Liu,
          2024), eq. 5 and section 3. https://arxiv.org/abs/2406.03150

    Arguments:
        layers: Convolutions: 5 (26,499 parameters for colour images), or 6 for transformers
            (102,339).
        patch: Side of a patch in pixels: 1, 2, 4, 8 or 16, or 32 with 6 layers.
        squash: ``none`` (the paper) adds the masked pattern as it is, with nothing clipped and no
            need of bounds; ``tanh``, ``sigmoid`` or ``clamp`` keep it below half the source's
            range and clip the sum to the source's bounds.
        seed: Of the network's initial weights (torch's own distribution).

    Raises:
        UserError: for a value outside these.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("image", (3, 32, 32), 0, 1), OutputSpec("classes", (10,)))
        >>> part = SampleMask()
        >>> part.bind(source, TaskSpec("toy", InputSpec("image", (3, 32, 32), 0, 1), ("a", "b")))
        >>> sum(p.numel() for p in part.network.parameters())
        26499
        >>> part.mask(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 3, 4, 4])
    """

    def __init__(
        self, *, layers: int = 5, patch: int = 8, squash: Limit = "none", seed: int = 0
    ) -> None:
        super().__init__(1.0, squash)
        if layers not in (5, 6):
            raise UserError(f"argument 'layers' is {layers}; give 5 or 6")
        allowed = [2**pools for pools in range(layers)]
        if patch not in allowed:
            raise UserError(
                f"argument 'patch' is {patch}; {layers} layers allow {', '.join(map(str, allowed))}"
            )
        self.layers, self.patch, self.seed = layers, patch, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the pattern and the mask network.

        Raises:
            UserError: if the image does not have the source's size, or is smaller than a patch.
        """
        self.meet_under(source, task)
        channels, height, width = self.shape
        if self.patch > min(height, width):
            raise UserError(
                f"argument 'patch' is {self.patch}, larger than the image of {height}x{width}; "
                f"give {min(height, width)} or less"
            )
        self.pattern = nn.Parameter(torch.zeros(self.shape))  # delta
        self.network = _network(channels, self.layers, self.patch, self.seed)  # phi

    def mask(self, x: Float[Tensor, "batch channels H W"]) -> Float[Tensor, "batch channels m n"]:
        """f_mask(x | phi), a value for each patch; a patch cut by the edge counts as one."""
        # A CPU pools faster in this layout.
        return self.network(x.contiguous(memory_format=torch.channels_last))

    def picture(self) -> Float[Tensor, "channels H W"]:
        """delta in the source's natural units: what a mask of ones would add."""
        return self.limited(self.pattern)

    def forward(
        self, prepared: Float[Tensor, "batch c H W"]
    ) -> Float[Tensor, "batch channels H W"]:
        """r(x) + delta * f_mask(r(x) | phi)."""
        channels, height, width = self.shape
        mask = self.mask(as_channels(prepared, channels))  # (batch, channels, m, n)
        mask = _patches(mask, self.patch)[:, :, :height, :width]
        if self.squash == "none":
            return torch.addcmul(prepared, self.pattern, mask)
        return self.added(prepared, self.limited(self.pattern * mask))

    def extra_repr(self) -> str:
        return f"layers={self.layers}, patch={self.patch}, squash={self.squash!r}"


def _patches(mask: Float[Tensor, "batch c m n"], patch: int) -> Float[Tensor, "batch c mp np"]:
    """Each value over a patch."""
    batch, channels, m, n = mask.shape
    wide = mask[:, :, :, None, :, None].expand(-1, -1, -1, patch, -1, patch)
    return wide.reshape(batch, channels, m * patch, n * patch)


def _network(channels: int, layers: int, patch: int, seed: int) -> nn.Sequential:
    """3 -> 8 -> 16 -> 32 -> 64 (-> 128) -> 3, halved behind each of the first log2(patch)."""
    generator = torch.Generator().manual_seed(seed)
    widths = (channels, *WIDTHS[: layers - 1])
    modules: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
        modules += [_convolution(fan_in, fan_out, generator), nn.BatchNorm2d(fan_out)]
        if 2**i < patch:
            modules.append(nn.MaxPool2d(2, ceil_mode=True))
        modules.append(
            nn.ReLU(inplace=True)
        )  # behind the pool: the same numbers, a quarter of them
    return nn.Sequential(*modules, _convolution(widths[-1], channels, generator))


def _convolution(fan_in: int, fan_out: int, generator: torch.Generator) -> nn.Conv2d:
    """3 x 3, with torch's initial distribution drawn from a generator of its own."""
    conv = nn.utils.skip_init(nn.Conv2d, fan_in, fan_out, 3, padding=1)
    assert isinstance(conv, nn.Conv2d)
    bound = 1 / math.sqrt(9 * fan_in)
    for parameter in conv.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return conv
