"""What the image transformations share, and the adapters of size and channels."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.transformations.base import Transformation, replace_input, require_kinds
from reprogram.types import InputSpec, SourceLike, TaskSpec, UserError

Squash = Literal["tanh", "sigmoid", "clamp"]
SQUASHES = ("tanh", "sigmoid", "clamp")


class Resize(Transformation):
    """Images resized to ``size`` by ``size`` pixels (bilinear; antialiased when shrinking).

    Arguments:
        size: Side of the square result, in pixels.

    Raises:
        UserError: if the size is not 1 or more.

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
        return resized(prepared, (self.size, self.size))

    def extra_repr(self) -> str:
        return str(self.size)


class Channels(Transformation):
    """Any number of channels to the source's by a trainable 1 x 1 convolution.

    It starts as repetition (fewer channels than the source has) or as the mean of every
    ``channels``-th one (more), the identity at equal counts; the result is clipped to the task's
    bounds. Grey and colour need no ``Channels``: patterns adapt them without parameters.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("image", (3, 8, 8), 0, 1), OutputSpec("classes", (10,)))
        >>> part = Channels()
        >>> part.bind(source, TaskSpec("toy", InputSpec("image", (6, 8, 8), 0, 1), ("a", "b")))
        >>> x = torch.rand(2, 6, 8, 8)
        >>> torch.allclose(part(x), (x[:, :3] + x[:, 3:]) / 2)
        True
    """

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the convolution.

        Raises:
            UserError: if task or source is not of images.
        """
        require_kinds(self, source, "image", task, "image")
        given, wanted = task.input.shape[0], source.input.shape[0]
        turn = min(given, wanted)
        same = torch.arange(wanted)[:, None] % turn == torch.arange(given) % turn
        self.weight = nn.Parameter(same / same.sum(1, keepdim=True))  # (wanted, given)
        self.bias = nn.Parameter(torch.zeros(wanted))
        self.bounds = task.input.lower, task.input.upper

    def after(self, task: TaskSpec) -> TaskSpec:
        """The task with as many channels as the source."""
        return replace_input(task, shape=(len(self.bias), *task.input.shape[1:]))

    def forward(self, prepared: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d h w"]:
        """Mix the channels; a value stays inside the task's bounds."""
        # As a product of matrices: torch's 1 x 1 convolution of so few channels is far slower.
        weight = self.weight.expand(len(prepared), -1, -1)  # (batch, d, c)
        mixed = torch.baddbmm(self.bias[:, None], weight, prepared.flatten(2))
        return mixed.unflatten(2, prepared.shape[2:]).clamp(*self.bounds)


class ImageTransformation(Transformation):
    """A part that writes an image input: channels, range and bounds are the source's.

    :meth:`prepare` keeps a grey image at one channel: what is cached stays small, and adding a
    pattern of the source's channels repeats it for nothing.
    """

    shape: tuple[int, ...]
    bounds: tuple[float, float]
    units: tuple[float, float]

    def meet(self, source: SourceLike, task: TaskSpec, *, bounded: bool = True) -> None:
        """Learn the source's shape and bounds, and how the task's units become its own.

        Raises:
            UserError: if kinds or channels do not fit, or a bound that is needed is infinite.
        """
        require_kinds(self, source, "image", task, "image")
        self.shape = source.input.shape
        check_channels(task.input.shape[0], self.shape[0])
        self.bounds = source.input.lower, source.input.upper
        if bounded:
            finite_bounds(self, source)
        self.units = units(task, source.input)

    def prepare(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d h w"]:
        """The image in the source's natural units, of the source's channels or grey."""
        if self.shape[0] == 1:
            x = as_channels(x, 1)
        scale, shift = self.units
        return x if self.units == (1.0, 0.0) else x * scale + shift

    def within(self, squash_: Squash, w: Tensor) -> Tensor:
        """R -> the source's bounds; 0 is their middle."""
        return _middle(self.bounds) + half(self.bounds) * squash(squash_, w)


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


def resized(x: Float[Tensor, "batch c h w"], size: tuple[int, ...]) -> Float[Tensor, "batch c m n"]:
    """Bilinear, antialiased when shrinking; an image of that size passes."""
    if x.shape[2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)


def as_channels(x: Float[Tensor, "batch c h w"], channels: int) -> Float[Tensor, "batch d h w"]:
    """Grey to colour by repetition, colour to grey by the mean; equal counts pass.

    Raises:
        UserError: for any other pair.
    """
    check_channels(x.shape[1], channels)
    if x.shape[1] == channels:
        return x
    return x.expand(-1, channels, -1, -1) if x.shape[1] == 1 else x.mean(1, keepdim=True)


def check_channels(given: int, wanted: int) -> None:
    """Equal counts fit, and grey fits colour either way.

    Raises:
        UserError: for any other pair.
    """
    if given != wanted and 1 not in (given, wanted):
        raise UserError(
            f"images of {given} channels for a source of {wanted}; give 1 or {wanted}, or put "
            "Channels before"
        )


def check_choice(argument: str, value: str, choices: tuple[str, ...]) -> None:
    """One of a few words.

    Raises:
        UserError: naming the argument and the words.
    """
    if value not in choices:
        *most, last = map(repr, choices)
        raise UserError(f"argument {argument!r} is {value!r}; give {', '.join(most)} or {last}")


def finite_bounds(part: nn.Module, source: SourceLike) -> tuple[float, float]:
    """The bounds of the source's door.

    Raises:
        UserError: if one is infinite.
    """
    bounds = source.input.lower, source.input.upper
    if not all(map(math.isfinite, bounds)):
        raise UserError(
            f"{type(part).__name__} needs finite bounds; the door of {source.uri or 'the source'} "
            "has none: enter before the normalisation, or give its InputSpec lower and upper"
        )
    return bounds


def units(task: TaskSpec, door: InputSpec) -> tuple[float, float]:
    """``scale, shift`` of the source's natural units in those of the task.

    Bounds go onto bounds. A door without bounds lies behind a normalisation: the task's mean and
    deviation go onto the door's.

    Raises:
        UserError: if the door has bounds and the task has none.

    Example:
        >>> door = InputSpec("image", (3, 8, 8), -1, 1)
        >>> units(TaskSpec("toy", InputSpec("image", (3, 8, 8), 0, 1), ("a", "b")), door)
        (2.0, -1.0)
    """
    given, bounds = (task.input.lower, task.input.upper), (door.lower, door.upper)
    if not all(map(math.isfinite, bounds)):
        scale = door.std / (task.input.std or 1.0)
        return scale, door.mean - scale * task.input.mean
    if not all(map(math.isfinite, given)):
        raise UserError(f"images of {task.name} have no finite bounds; give lower and upper")
    if given == bounds:
        return 1.0, 0.0
    scale = half(bounds) / half(given)
    return scale, _middle(bounds) - scale * _middle(given)


def spread(
    values: Float[Tensor, " places"], at: Int[Tensor, " places"], shape: tuple[int, ...]
) -> Tensor:
    """The values at their places of a canvas of zeros."""
    canvas = values.new_zeros(math.prod(shape))
    return canvas.index_put((at,), values).reshape(shape)


def around(shape: tuple[int, ...], padding: tuple[int, int, int, int]) -> Int[Tensor, " places"]:
    """Places of (channels, height, width) in a border of ``left, right, top, bottom`` pixels."""
    left, right, top, bottom = padding
    channels, height, width = shape
    inside = torch.zeros(channels, height - top - bottom, width - left - right)
    return F.pad(inside, padding, value=1.0).reshape(-1).nonzero()[:, 0]


def half(bounds: tuple[float, float]) -> float:
    """Half the range."""
    return (bounds[1] - bounds[0]) / 2


def _middle(bounds: tuple[float, float]) -> float:
    return (bounds[0] + bounds[1]) / 2
