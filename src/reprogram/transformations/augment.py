"""Augmentation at random while training, none in evaluation."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from reprogram.transformations.base import Transformation
from reprogram.types import SourceLike, TaskSpec, UserError


class Flip(Transformation):
    """Every image mirrored left to right with probability 1/2, while training.

    Example:
        >>> x = torch.rand(2, 3, 4, 4)
        >>> torch.equal(Flip().eval()(x), x)
        True
    """

    random = True

    def after(self, task: TaskSpec) -> TaskSpec:
        """The task as it was."""
        return task

    def forward(self, prepared: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """Mirrored or not, each image for itself."""
        if not self.training:
            return prepared
        coin = torch.rand(len(prepared), 1, 1, 1, device=prepared.device) < 0.5
        return torch.where(coin, prepared.flip(-1), prepared)


class Crop(Transformation):
    """Every image shifted at random by up to ``padding`` pixels each way, while training.

    A window of the image's size is cut out of a canvas larger by ``padding`` on each side: the
    image between zeros, or enlarged.

    Arguments:
        padding: In pixels, 1 or more.
        enlarge: Whether the canvas is the image itself, enlarged (bilinear), as in the code of
            sample-specific masks (``padding=16`` there: resized by 32 more, then cropped).

    Raises:
        UserError: if the padding is not 1 or more, or (in ``bind``) wider than the image.

    Example:
        >>> Crop()(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    random = True

    def __init__(self, *, padding: int = 4, enlarge: bool = False) -> None:
        super().__init__()
        if padding < 1:
            raise UserError(f"argument 'padding' is {padding}; give a number of pixels, 1 or more")
        self.padding, self.enlarge = padding, enlarge

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Check that an image may not be shifted out of itself.

        Raises:
            UserError: if it may.
        """
        del source
        height, width = task.input.shape[-2:]
        if self.padding >= min(height, width):
            raise UserError(
                f"argument 'padding' is {self.padding}: an image of {height}x{width} pixels would "
                "be shifted out of sight; give less"
            )

    def after(self, task: TaskSpec) -> TaskSpec:
        """The task as it was."""
        return task

    def forward(self, prepared: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch c h w"]:
        """A window at a place of its own for each image."""
        if not self.training:
            return prepared
        (batch, _, height, width), p = prepared.shape, self.padding
        if self.enlarge:
            size = (height + 2 * p, width + 2 * p)
            canvas = F.interpolate(prepared, size, mode="bilinear", align_corners=False)
        else:
            canvas = F.pad(prepared, (p, p, p, p))
        places = torch.randint(2 * p + 1, (batch, 2)).tolist()  # on the CPU: no device waits
        cut = [
            image[:, top : top + height, left : left + width]
            for image, (top, left) in zip(canvas.unbind(), places, strict=True)
        ]
        return torch.stack(cut)

    def extra_repr(self) -> str:
        return f"padding={self.padding}{', enlarge=True' if self.enlarge else ''}"
