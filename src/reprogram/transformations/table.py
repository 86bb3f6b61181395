"""The columns of a table written over an image."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.transformations.base import Transformation, require_kinds
from reprogram.transformations.image import (
    SQUASHES,
    Squash,
    check_choice,
    finite_bounds,
    spread,
    squash,
)
from reprogram.types import SourceLike, TaskSpec, UserError

Painted = Literal["trained", "grey"]


class TableOverlay(Transformation):
    """Each feature a block of pixels in the middle of a host image, whose rest is a pattern.

    The ``n`` columns, standardised by the training split, fill a grid of ``a`` by ``a`` blocks,
    ``a = ceil(sqrt(n))``, row by row. A block's pixels are ``sigmoid(gain * z + offset)`` of the
    source's range, with a gain and an offset for each feature and colour: at the start 1 and 0,
    which is a ramp of grey. Blocks without a feature belong to the host.

    References:
        | After Adversarial Reprogramming of Pretrained Neural Networks for Fraud Detection (Chen,
          Chen, Yang, Shen, 2021), where transaction features are written over an image; its
          formula is not public, this one is ours. https://doi.org/10.1145/3459637.3482053

    Arguments:
        size: Side of the grid at most, in pixels of the source; ``None`` for half the image.
        host: Whether the pixels around the grid are ``trained``, or stay ``grey``: the middle of
            the source's bounds.
        colour: Whether gain and offset are ``trained``, or the ramp stays ``grey``.
        squash: How the host is kept inside the source's bounds: ``tanh``, ``sigmoid`` or ``clamp``.

    Raises:
        UserError: for another word, or a size below 1.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("image", (3, 8, 8), 0, 1), OutputSpec("classes", (10,)))
        >>> part = TableOverlay(size=2, colour="grey")
        >>> part.bind(source, TaskSpec("toy", InputSpec("table", (3,), mean=5.0), ("a", "b")))
        >>> part(part.prepare(torch.tensor([[5.0, 99.0, -99.0]])))[0, 0, 3:5, 3:5]
        tensor([[0.5000, 1.0000],
                [0.0000, 0.5000]], grad_fn=...)
    """

    at: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        size: int | None = None,
        host: Painted = "trained",
        colour: Painted = "trained",
        squash: Squash = "tanh",
    ) -> None:
        super().__init__()
        check_choice("squash", squash, SQUASHES)
        check_choice("host", host, ("trained", "grey"))
        check_choice("colour", colour, ("trained", "grey"))
        if size is not None and size < 1:
            raise UserError(f"argument 'size' is {size}; give pixels, 1 or more, or None")
        self.size = size
        self.host: Painted = host
        self.colour: Painted = colour
        self.squash: Squash = squash

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Lay grid and host out.

        Raises:
            UserError: if the grid does not fit the image, or a block would be less than a pixel.
        """
        require_kinds(self, source, "image", task, "table")
        self.bounds, self.shape = finite_bounds(self, source), source.input.shape
        (count,), (channels, height, width) = task.input.shape, self.shape
        side = min(height, width)
        size, self.grid = self.size or side // 2, math.ceil(math.sqrt(count))
        if size > side:
            raise UserError(
                f"argument 'size' is {size}, larger than the source's input of {height}x{width}; "
                f"give {side} or less"
            )
        self.block = size // self.grid  # pixels a feature
        if self.block < 1:
            raise UserError(
                f"{count} features need a grid of {self.grid}x{self.grid} pixels or more; argument "
                f"'size' is {size}, and the source's input {height}x{width}"
            )
        inner = self.grid * self.block
        top, left = (height - inner) // 2, (width - inner) // 2
        self.padding = (left, width - inner - left, top, height - inner - top)
        empty = self._lay_out(torch.ones(1, channels, count)) == 0
        self.register_buffer("at", empty.reshape(-1).nonzero()[:, 0], persistent=False)
        columns = task.input.means, task.input.stds
        fallback = [task.input.mean] * count, [task.input.std] * count
        for name, values, else_ in zip(("mean", "std"), columns, fallback, strict=True):
            self.register_buffer(name, torch.tensor(values or else_), persistent=False)
        if self.host == "trained":
            self.pattern = nn.Parameter(torch.zeros(len(self.at)))
        if self.colour == "trained":
            self.gain = nn.Parameter(torch.ones(channels, count))
            self.offset = nn.Parameter(torch.zeros(channels, count))

    def prepare(self, x: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch columns"]:
        """z: every column of mean 0 and deviation 1 in training; a constant column is left at 0."""
        return (x - self.mean) / self.std.where(self.std > 0, 1.0)

    def picture(self) -> Float[Tensor, "channels H W"]:
        """The host in the source's natural units, zero where features go."""
        if self.host == "trained":
            level = (squash(self.squash, self.pattern) + 1) / 2
        else:
            level = self.mean.new_full(self.at.shape, 0.5)
        return spread(self._natural(level), self.at, self.shape)

    def forward(self, prepared: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch c H W"]:
        """Features in their blocks, host around, inside the source's bounds."""
        z = prepared[:, None]  # (batch, 1, columns)
        if self.colour == "trained":
            z = self.gain * z + self.offset
        return self._lay_out(self._natural(z.sigmoid())) + self.picture()

    def _lay_out(self, values: Float[Tensor, "batch c columns"]) -> Float[Tensor, "batch c H W"]:
        """Each value in its block, zeros elsewhere."""
        spare = self.grid**2 - values.shape[2]
        grid = F.pad(values, (0, spare)).unflatten(2, (self.grid, self.grid))
        blocks = grid.repeat_interleave(self.block, 2).repeat_interleave(self.block, 3)
        return F.pad(blocks, self.padding)

    def _natural(self, level: Tensor) -> Tensor:
        """[0, 1] -> the source's bounds."""
        lower, upper = self.bounds
        return lower + (upper - lower) * level

    def extra_repr(self) -> str:
        size = "" if self.size is None else f"size={self.size}, "
        return f"{size}host={self.host!r}, colour={self.colour!r}, squash={self.squash!r}"
