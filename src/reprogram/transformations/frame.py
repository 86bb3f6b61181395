"""An image inside a trainable frame, at a given or a trainable scale."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.transformations.image import (
    SQUASHES,
    ImageTransformation,
    Squash,
    around,
    check_choice,
    spread,
)
from reprogram.types import SourceLike, TaskSpec, UserError

MIN_SCALE, MAX_SCALE = 0.1, 5.0  # of the AutoVP code


class Frame(ImageTransformation):
    """The image in the middle of the source's input, and a trainable frame around it.

    ``X_adv = X~ + g(W * M)``: ``X~`` is the image padded to the source's size and ``M`` is 0 on the
    image. ``W`` is kept for the frame alone.

    References:
        | Adversarial Reprogramming of Neural Networks (Elsayed, Goodfellow, Sohl-Dickstein, 2019),
          eq. 1 and 2. https://arxiv.org/abs/1806.11146

    Arguments:
        squash: How ``W`` is kept inside the source's bounds: ``tanh`` (the paper), ``sigmoid`` or
            ``clamp``. At ``W = 0`` the frame is the middle of the bounds.

    Raises:
        UserError: for another squash.

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
        check_choice("squash", squash, SQUASHES)
        self.squash: Squash = squash

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Lay the frame out.

        Raises:
            UserError: if the image leaves no room for a frame.
        """
        self.meet(source, task)
        (_, height, width), (_, outer_height, outer_width) = task.input.shape, self.shape
        if height > outer_height or width > outer_width or (height, width) == self.shape[1:]:
            raise UserError(
                f"image of {height}x{width} pixels leaves no frame in the source's input of "
                f"{outer_height}x{outer_width}; put Resize before Frame (--set size=...)"
            )
        top, left = (outer_height - height) // 2, (outer_width - width) // 2
        bottom, right = outer_height - height - top, outer_width - width - left
        self.padding = (left, right, top, bottom)
        self.register_buffer("at", around(self.shape, self.padding), persistent=False)
        self.pattern = nn.Parameter(torch.zeros(len(self.at)))

    def picture(self) -> Float[Tensor, "channels H W"]:
        """The frame in the source's natural units, zero where the image goes."""
        return spread(self.within(self.squash, self.pattern), self.at, self.shape)

    def forward(
        self, prepared: Float[Tensor, "batch c h w"]
    ) -> Float[Tensor, "batch channels H W"]:
        """X~ + g(W * M)  (eq. 2), inside the source's bounds."""
        return F.pad(prepared, self.padding) + self.picture()

    def extra_repr(self) -> str:
        return "" if self.squash == "tanh" else f"squash={self.squash!r}"


class ScaledFrame(ImageTransformation):
    """The image at a trainable scale in the middle of the source's input, framed.

    ``f_in = T_s(x) + (1 - T_s(1)) * g(W)``: ``T_s`` draws the image ``s`` times as large (bilinear,
    antialiased when shrinking, about the centre, zero outside) and ``T_s(1)`` is the mask it
    leaves, soft at its edge. Both are differentiable in ``s``, so that image and frame grow and
    shrink together; beyond the source's input the image is cropped. At ``s = 1`` and an even margin
    it is :class:`Frame`.

    The published code cuts its mask at ``int(height * s)``, through which no gradient passes.

    References:
        | AutoVP: An Automated Visual Prompting Framework and Benchmark (Tsao, Hsiung, Chen, Liu,
          Ho, 2024). https://arxiv.org/abs/2310.08381

    Arguments:
        scale: ``s`` at the start, in [0.1, 5], of the image as it arrives (the paper resizes it to
            128 of 224 pixels first: ``Compose([Resize(128), ScaledFrame()])``).
        trainable: Whether ``s`` is trained; it stays in [0.1, 5].
        squash: How ``W`` is kept inside the source's bounds: ``sigmoid`` (the paper), ``tanh`` or
            ``clamp``. At ``W = 0`` the frame is the middle of the bounds.

    Raises:
        UserError: for another squash or scale.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("image", (3, 32, 32), 0, 1), OutputSpec("classes", (10,)))
        >>> frame = ScaledFrame(scale=0.5)
        >>> frame.bind(source, TaskSpec("toy", InputSpec("image", (1, 16, 16), 0, 1), ("a", "b")))
        >>> y = frame(frame.prepare(torch.ones(1, 1, 16, 16)))
        >>> y[0, 0, 16, 10:15].tolist()  # grey frame, white image from 12 to 20
        [0.5, 0.5625, 0.9375, 1.0, 1.0]
    """

    zoom: Tensor

    def __init__(
        self, *, scale: float = 1.0, trainable: bool = True, squash: Squash = "sigmoid"
    ) -> None:
        super().__init__()
        check_choice("squash", squash, SQUASHES)
        if not MIN_SCALE <= scale <= MAX_SCALE:
            raise UserError(f"argument 'scale' is {scale}; give {MIN_SCALE} to {MAX_SCALE}")
        self.scale, self.trainable = scale, trainable
        self.squash: Squash = squash

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the pattern and the scale.

        Raises:
            UserError: if the image leaves no room for a frame at the first scale.
        """
        self.meet(source, task)
        (_, *self.size), (_, *outer) = task.input.shape, self.shape
        if all(inner * self.scale >= side for inner, side in zip(self.size, outer, strict=True)):
            raise UserError(
                f"image of {self.size[0]}x{self.size[1]} pixels at scale {self.scale} leaves no "
                f"frame in the source's input of {outer[0]}x{outer[1]}; give a smaller scale, or "
                "put Resize before ScaledFrame"
            )
        self.pattern = nn.Parameter(torch.zeros(self.shape))
        zoom = torch.tensor(float(self.scale))
        if self.trainable:
            self.zoom = nn.Parameter(zoom)
        else:
            self.register_buffer("zoom", zoom, persistent=False)

    def prepare(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch d m n"]:
        """The image in the source's natural units; drawn already where the scale is fixed."""
        x = super().prepare(x)
        return x if self.trainable else self._draw(x)

    def advance(self, step: int, steps: int) -> None:
        """Project the scale back into its range, where its gradient does not vanish."""
        del step, steps
        with torch.no_grad():
            self.zoom.clamp_(MIN_SCALE, MAX_SCALE)

    def picture(self) -> Float[Tensor, "channels H W"]:
        """The frame in the source's natural units, fading to zero where the image goes."""
        rows, columns = (taps.sum(1) for taps in self._taps())
        return (1 - rows[:, None] * columns) * self.within(self.squash, self.pattern)

    def forward(
        self, prepared: Float[Tensor, "batch d m n"]
    ) -> Float[Tensor, "batch channels H W"]:
        """T_s(x) + (1 - T_s(1)) * g(W): between image and frame, so inside the bounds."""
        return (self._draw(prepared) if self.trainable else prepared) + self.picture()

    def _draw(self, x: Tensor) -> Tensor:
        rows, columns = self._taps()
        return rows @ x @ columns.T  # (batch, d, H, W)

    def _taps(self) -> tuple[Tensor, Tensor]:
        """Bilinear weights of the image's pixels: (H, h) for rows, (W, w) for columns."""
        scale = self.zoom.clamp(MIN_SCALE, MAX_SCALE)
        return _hat(self.shape[1], self.size[0], scale), _hat(self.shape[2], self.size[1], scale)

    def extra_repr(self) -> str:
        fixed = "" if self.trainable else ", trainable=False"
        return f"scale={self.scale}{fixed}, squash={self.squash!r}"


def _hat(outer: int, inner: int, scale: Tensor) -> Float[Tensor, "outer inner"]:
    """Weight of each inner pixel at each outer one: a hat as wide as the wider of the two.

    A row sums to 1 inside the image and falls to 0 over its edge, where pixels that are not there
    would have had the rest.
    """
    beyond = 2 * math.ceil(1 / MIN_SCALE)  # pixels on each side that a hat may reach
    pixels = torch.arange(-beyond, inner + beyond, dtype=scale.dtype, device=scale.device)
    place = torch.arange(outer, dtype=scale.dtype, device=scale.device) - (outer - 1) / 2
    place = place / scale + (inner - 1) / 2  # about the centre
    rise = 1 - (place[:, None] - pixels).abs() / (1 / scale).clamp_min(1)
    # At a whole pixel relu has no slope and clamp_min that of both sides: halves make their mean.
    weight = (rise.relu() + rise.clamp_min(0)) / 2
    inside = weight[:, beyond : beyond + inner]
    return inside / weight.sum(1, keepdim=True).where(inside.any(1, keepdim=True), 1.0)
