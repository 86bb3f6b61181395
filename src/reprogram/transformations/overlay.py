"""A trainable pattern added to the image."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from reprogram.transformations.image import (
    SQUASHES,
    ImageTransformation,
    Squash,
    around,
    check_choice,
    half,
    spread,
    squash,
)
from reprogram.types import SourceLike, TaskSpec, UserError

Limit = Literal["tanh", "sigmoid", "clamp", "none"]


class Added(ImageTransformation):
    """A part that adds a trainable pattern: kept below a strength and clipped, or left alone.

    Arguments:
        strength: Largest change of a pixel, as a share of half the source's range, in (0, 1].
        squash: ``tanh``, ``sigmoid`` or ``clamp`` keep the pattern below the strength, and the sum
            is clipped to the source's bounds; ``none`` adds the pattern as it is, clips nothing,
            and needs no bounds.

    Raises:
        UserError: for another squash or strength.
    """

    def __init__(self, strength: float, squash: Limit) -> None:
        super().__init__()
        check_choice("squash", squash, (*SQUASHES, "none"))
        if not 0 < strength <= 1:
            raise UserError(f"argument 'strength' is {strength}; give a share in (0, 1]")
        if squash == "none" and strength != 1:
            raise UserError(
                f"argument 'strength' is {strength} with squash 'none', which limits nothing; "
                "leave it at 1 or give another squash"
            )
        self.strength = strength
        self.squash: Limit = squash

    def meet_under(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the shapes of a task whose images fill the source's input.

        Raises:
            UserError: if the image does not have the source's size.
        """
        self.meet(source, task, bounded=self.squash != "none")
        if task.input.shape[1:] != self.shape[1:]:
            raise UserError(
                f"image of {task.input.shape[1]}x{task.input.shape[2]} pixels under a pattern of "
                f"{self.shape[1]}x{self.shape[2]}; put Resize before {type(self).__name__}"
            )

    def limited(self, w: Tensor) -> Tensor:
        """What the pattern adds, in the source's natural units."""
        if self.squash == "none":
            return w
        kind: Squash = self.squash
        return self.strength * half(self.bounds) * squash(kind, w)

    def added(self, prepared: Tensor, change: Tensor) -> Tensor:
        """The image changed; clipped unless nothing limits the pattern."""
        changed = prepared + change
        return changed if self.squash == "none" else changed.clamp(*self.bounds)


class Overlay(Added):
    """A trainable pattern added over the whole image, or over its border.

    Arguments:
        width: Of the border, in pixels, less than half the image; ``None`` for the whole image.
            Visual prompting takes 30 of 224 (69,840 parameters); the mask paper calls 28 narrow,
            56 medium and the whole image full.
        strength: Largest change of a pixel, as a share of half the source's range, in (0, 1].
        squash: How the pattern is kept below the strength: ``tanh``, ``sigmoid`` or ``clamp``; the
            sum is clipped to the source's bounds. ``none`` (the papers) adds the pattern as it is
            and clips nothing; it suits a door behind the normalisation, whose bounds may be
            infinite: the task's mean and deviation then become the door's.
        start: ``zeros``, or ``normal``: a seeded draw from N(0, 1), as in visual prompting.
        seed: Of that draw.

    Raises:
        UserError: for a value outside these ranges.

    References:
        | Exploring Visual Prompts for Adapting Large-Scale Models (Bahng, Jahanian,
          Sankaranarayanan, Isola, 2022). https://arxiv.org/abs/2203.17274

    Example:
        >>> Overlay(strength=0.5)
        Overlay(strength=0.5, squash='tanh')
        >>> Overlay(width=30, squash="none", start="normal")
        Overlay(width=30, squash='none', start='normal')
    """

    at: Tensor

    def __init__(
        self,
        *,
        width: int | None = None,
        strength: float = 1.0,
        squash: Limit = "tanh",
        start: Literal["zeros", "normal"] = "zeros",
        seed: int = 0,
    ) -> None:
        super().__init__(strength, squash)
        check_choice("start", start, ("zeros", "normal"))
        check_width(width)
        self.width, self.seed = width, seed
        self.start: Literal["zeros", "normal"] = start

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the pattern.

        Raises:
            UserError: if the image does not have the source's size, or the border is no border.
        """
        self.meet_under(source, task)
        shape = self.shape
        if self.width is not None:
            self.register_buffer("at", border(self.shape, self.width), persistent=False)
            shape = self.at.shape
        if self.start == "normal":
            generator = torch.Generator().manual_seed(self.seed)
            self.pattern = nn.Parameter(torch.randn(shape, generator=generator))
        else:
            self.pattern = nn.Parameter(torch.zeros(shape))

    def picture(self) -> Float[Tensor, "channels H W"]:
        """What is added, in the source's natural units."""
        pattern = self.limited(self.pattern)
        return pattern if self.width is None else spread(pattern, self.at, self.shape)

    def forward(
        self, prepared: Float[Tensor, "batch c H W"]
    ) -> Float[Tensor, "batch channels H W"]:
        """The image plus the pattern."""
        return self.added(prepared, self.picture())

    def extra_repr(self) -> str:
        width = "" if self.width is None else f"width={self.width}, "
        strength = "" if self.squash == "none" else f"strength={self.strength}, "
        start = "" if self.start == "zeros" else f", start={self.start!r}"
        return f"{width}{strength}squash={self.squash!r}{start}"


def check_width(width: int | None) -> None:
    """A border has a pixel or more.

    Raises:
        UserError: if it has none.
    """
    if width is not None and width < 1:
        raise UserError(f"argument 'width' is {width}; give pixels, 1 or more, or None")


def border(shape: tuple[int, ...], width: int) -> Int[Tensor, " places"]:
    """Places of (channels, height, width) in a border.

    Raises:
        UserError: if nothing is left inside it.
    """
    if 2 * width >= min(shape[1:]):
        raise UserError(
            f"argument 'width' is {width}: a border of an image of {shape[1]}x{shape[2]} is "
            "narrower than half of it; None covers the whole image"
        )
    return around(shape, (width, width, width, width))
