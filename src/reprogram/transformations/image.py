"""An image inside or under a trainable pattern."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.transformations.base import Transformation, replace_input, require_kinds
from reprogram.types import SourceLike, TaskSpec, UserError

Squash = Literal["tanh", "sigmoid", "clamp"]


class Resize(Transformation):
    """Images resized to ``size`` by ``size`` pixels (bilinear; antialiased when shrinking).

    Arguments:
        size: Side of the square result, in pixels.

    Example:
        >>> Resize(16)(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 1, 16, 16])
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if size < 1:
            raise UserError(f"argument 'size' is {size}; give a number of pixels, 1 or more")
        self.size = size

    def after(self, task: TaskSpec) -> TaskSpec:
        """The task with images of the new size."""
        return replace_input(task, shape=(task.input.shape[0], self.size, self.size))

    def forward(self, prepared: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c size size"]:
        """Interpolate; values stay inside the old range."""
        size = (self.size, self.size)
        return F.interpolate(prepared, size, mode="bilinear", antialias=True, align_corners=False)

    def extra_repr(self) -> str:
        return str(self.size)


class Frame(Transformation):
    """The image in the middle of the source's input, and a trainable frame around it.

    ``X_adv = X~ + g(W * M)``: ``X~`` is the image padded to the source's size and ``M`` is 0 on the
    image. ``W`` is kept for the frame alone.

    References:
        | Adversarial Reprogramming of Neural Networks (Elsayed, Goodfellow, Sohl-Dickstein, 2019),
          eq. 1 and 2. https://arxiv.org/abs/1806.11146

    Arguments:
        squash: How ``W`` is kept inside the source's bounds: ``tanh`` (the paper), ``sigmoid`` or
            ``clamp``. At ``W = 0`` the frame is the middle of the bounds.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("image", (3, 32, 32), 0, 1), OutputSpec("classes", (10,)))
        >>> frame = Frame()
        >>> frame.bind(source, TaskSpec("toy", InputSpec("image", (1, 16, 16), 0, 1), ("a", "b")))
        >>> frame(frame.prepare(torch.rand(2, 1, 16, 16))).shape
        torch.Size([2, 3, 32, 32])
        >>> frame.pattern.numel() == 3 * (32 * 32 - 16 * 16)
        True
    """

    at: Tensor

    def __init__(self, *, squash: Squash = "tanh") -> None:
        super().__init__()
        _check_squash(squash)
        self.squash: Squash = squash

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Lay the frame out.

        Raises:
            UserError: if the image leaves no room for a frame.
        """
        require_kinds(self, source, "image", task, "image")
        (_, height, width), self.shape = task.input.shape, source.input.shape
        channels, outer_height, outer_width = self.shape
        if height > outer_height or width > outer_width or (height, width) == self.shape[1:]:
            raise UserError(
                f"image of {height}x{width} pixels leaves no frame in the source's input of "
                f"{outer_height}x{outer_width}; put Resize before Frame (--set size=...)"
            )
        top, left = (outer_height - height) // 2, (outer_width - width) // 2
        bottom, right = outer_height - height - top, outer_width - width - left
        self.padding = (left, right, top, bottom)
        mask = F.pad(torch.zeros(channels, height, width), self.padding, value=1.0)
        self.register_buffer("at", mask.reshape(-1).nonzero()[:, 0], persistent=False)
        self.pattern = nn.Parameter(torch.zeros(len(self.at)))
        self.bounds, self.given = _finite_bounds(self, source), _task_bounds(task)

    def prepare(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch channels H W"]:
        """X~: channels and range as the source wants them, zeros around."""
        return F.pad(_onto(as_channels(x, self.shape[0]), self.given, self.bounds), self.padding)

    def picture(self) -> Float[Tensor, "channels H W"]:
        """The frame in the source's natural units, zero where the image goes."""
        value = _middle(self.bounds) + _half(self.bounds) * squash(self.squash, self.pattern)
        canvas = value.new_zeros(math.prod(self.shape))
        return canvas.index_put((self.at,), value).reshape(self.shape)

    def forward(
        self, prepared: Float[Tensor, "batch channels H W"]
    ) -> Float[Tensor, "batch channels H W"]:
        """X~ + g(W * M)  (eq. 2), inside the source's bounds."""
        return prepared + self.picture()

    def extra_repr(self) -> str:
        return "" if self.squash == "tanh" else f"squash={self.squash!r}"


class Overlay(Transformation):
    """A trainable pattern added over the whole image; the sum is clipped to the source's bounds.

    Arguments:
        strength: Largest change of a pixel, as a share of half the source's range, in (0, 1].
        squash: How the pattern is kept below the strength: ``tanh``, ``sigmoid`` or ``clamp``.

    References:
        | Exploring Visual Prompts for Adapting Large-Scale Models (Bahng, Jahanian,
          Sankaranarayanan, Isola, 2022). https://arxiv.org/abs/2203.17274

    Example:
        >>> Overlay(strength=0.5)
        Overlay(strength=0.5, squash='tanh')
    """

    def __init__(self, *, strength: float = 1.0, squash: Squash = "tanh") -> None:
        super().__init__()
        _check_squash(squash)
        if not 0 < strength <= 1:
            raise UserError(f"argument 'strength' is {strength}; give a share in (0, 1]")
        self.strength = strength
        self.squash: Squash = squash

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the pattern.

        Raises:
            UserError: if the image does not have the source's size.
        """
        require_kinds(self, source, "image", task, "image")
        if task.input.shape[1:] != source.input.shape[1:]:
            raise UserError(
                f"image of {task.input.shape[1]}x{task.input.shape[2]} pixels under a pattern of "
                f"{source.input.shape[1]}x{source.input.shape[2]}; put Resize before Overlay"
            )
        self.pattern = nn.Parameter(torch.zeros(source.input.shape))
        self.bounds, self.given = _finite_bounds(self, source), _task_bounds(task)

    def prepare(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch channels h w"]:
        """Channels and range as the source wants them."""
        return _onto(as_channels(x, self.pattern.shape[0]), self.given, self.bounds)

    def picture(self) -> Float[Tensor, "channels H W"]:
        """What is added, in the source's natural units."""
        return self.strength * _half(self.bounds) * squash(self.squash, self.pattern)

    def forward(
        self, prepared: Float[Tensor, "batch channels H W"]
    ) -> Float[Tensor, "batch channels H W"]:
        """The image plus the pattern, clipped."""
        return (prepared + self.picture()).clamp(*self.bounds)

    def extra_repr(self) -> str:
        return f"strength={self.strength}, squash={self.squash!r}"


def squash(kind: Squash, w: Tensor) -> Tensor:
    """R -> [-1, 1]; with a slope of 1, 1/2 or 1 at 0.

    Example:
        >>> squash("clamp", torch.tensor([-3.0, 0.5]))
        tensor([-1.0000,  0.5000])
    """
    if kind == "tanh":
        return w.tanh()
    if kind == "sigmoid":
        return 2 * w.sigmoid() - 1
    return w.clamp(-1, 1)


def as_channels(x: Float[Tensor, "batch c h w"], channels: int) -> Float[Tensor, "batch d h w"]:
    """Grey to colour by repetition, colour to grey by the mean; equal counts pass.

    Raises:
        UserError: for any other pair.
    """
    if x.shape[1] == channels:
        return x
    if x.shape[1] == 1:
        return x.expand(-1, channels, -1, -1)
    if channels == 1:
        return x.mean(1, keepdim=True)
    raise UserError(
        f"images of {x.shape[1]} channels for a source of {channels}; give 1 or {channels}"
    )


def _check_squash(kind: str) -> None:
    if kind not in ("tanh", "sigmoid", "clamp"):
        raise UserError(f"argument 'squash' is {kind!r}; give 'tanh', 'sigmoid' or 'clamp'")


def _finite_bounds(part: nn.Module, source: SourceLike) -> tuple[float, float]:
    bounds = source.input.lower, source.input.upper
    if not all(map(math.isfinite, bounds)):
        raise UserError(
            f"{type(part).__name__} needs finite bounds; the door of {source.uri or 'the source'} "
            "has none: enter before the normalisation"
        )
    return bounds


def _task_bounds(task: TaskSpec) -> tuple[float, float]:
    bounds = task.input.lower, task.input.upper
    if not all(map(math.isfinite, bounds)):
        raise UserError(f"images of {task.name} have no finite bounds; give lower and upper")
    return bounds


def _onto(x: Tensor, given: tuple[float, float], bounds: tuple[float, float]) -> Tensor:
    """Natural units of the task -> those of the source."""
    if given == bounds:
        return x
    return _middle(bounds) + (x - _middle(given)) * (_half(bounds) / _half(given))


def _middle(bounds: tuple[float, float]) -> float:
    return (bounds[0] + bounds[1]) / 2


def _half(bounds: tuple[float, float]) -> float:
    return (bounds[1] - bounds[0]) / 2
