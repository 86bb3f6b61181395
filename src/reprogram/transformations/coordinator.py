"""A pattern for each image, written by a small decoder from a frozen encoder's features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.transformations.basis import cosines
from reprogram.transformations.image import (
    as_channels,
    check_channels,
    check_choice,
    half,
    resized,
    units,
)
from reprogram.transformations.overlay import Added
from reprogram.types import SourceLike, TaskSpec, UserError

TRIGGER = 0.1  # the published trigger starts at U(0, 0.1)


@runtime_checkable
class Encoder(SourceLike, Protocol):
    """What a coordinator asks of a frozen source."""

    def features(self, x: Tensor) -> Tensor | None: ...
    def __call__(self, x: Tensor) -> Tensor: ...


class Coordinator(Added):
    """A pattern for each image: a small decoder reads what a frozen encoder sees in it.

    ``f_in = clip(x + strength * tanh(h(x)))``. The features of ``x`` and a trained trigger vector
    fill a small grid of maps; each block doubles it (a depthwise transposed convolution of 2 x 2,
    one of 1 x 1, batch-norm, GELU), a last transposed convolution gives the source's channels, and
    what is not yet of the source's size is interpolated.

    The encoder runs once for each image, in :meth:`prepare`, whatever the number of perturbations:
    put nothing that draws at random before this part. It is no part of the program.

    The published decoder (``grid=7, trigger=800, widths=(64, 32, 32, 16)`` on 768 features) has
    9,920 parameters and no tanh. Ours has 9,728: biases that a batch-norm takes away again are left
    out.

    References:
        | BlackVIP: Black-Box Visual Prompting for Robust Transfer Learning (Oh, Hwang, Lee, Lim,
          Jung, Jung, Choi, Song, 2023), section 4.1. https://arxiv.org/abs/2303.14773

    Arguments:
        encoder: A frozen source of images: its features, or its output where it shows none. It is
            asked once more by ``bind``. ``None`` for an encoder that was not trained: the ``grid``
            by ``grid`` lowest frequencies of each channel's DCT-II.
        strength: Largest change of a pixel, as a share of half the source's range, in (0, 1].
        trigger: Length of the trigger vector, such that features and trigger fill whole maps;
            ``None`` for what is missing of the next one.
        grid: Side of the maps, in cells; 1 or more.
        widths: Channels behind each block.
        start: ``uniform``: torch's own distribution, as published. ``zeros``: the last layer is
            zero, images start untouched, and the first gradient is that layer's alone.
        seed: Of the initial parameters.

    Raises:
        UserError: for a value outside these ranges.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("image", (3, 32, 32), 0, 1), OutputSpec("classes", (10,)))
        >>> part = Coordinator()
        >>> part.bind(source, TaskSpec("toy", InputSpec("image", (3, 32, 32), 0, 1), ("a", "b")))
        >>> sum(p.numel() for p in part.parameters())
        672
        >>> part(part.prepare(torch.rand(2, 3, 32, 32))).shape
        torch.Size([2, 3, 32, 32])
    """

    rows: Tensor
    columns: Tensor
    blank: Tensor
    encoder: Encoder | None

    def __init__(
        self,
        encoder: Encoder | None = None,
        *,
        strength: float = 1.0,
        trigger: int | None = None,
        grid: int = 4,
        widths: Sequence[int] = (16, 8),
        start: Literal["uniform", "zeros"] = "uniform",
        seed: int = 0,
    ) -> None:
        super().__init__(strength, "tanh")
        check_choice("start", start, ("uniform", "zeros"))
        if grid < 1:
            raise UserError(f"argument 'grid' is {grid}; give a number of cells, 1 or more")
        if not widths or min(widths) < 1:
            raise UserError(f"argument 'widths' is {list(widths)}; give channels, 1 or more each")
        if trigger is not None and trigger < 1:
            raise UserError(f"argument 'trigger' is {trigger}; give a length, 1 or more, or None")
        self.__dict__["encoder"] = encoder  # not a child: it is neither trained, saved nor copied
        self.trigger, self.grid, self.widths, self.seed = trigger, grid, list(widths), seed
        self.start: Literal["uniform", "zeros"] = start

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create trigger and decoder.

        Raises:
            UserError: if the image does not have the source's size, the encoder takes no such
                images, or features and trigger do not fill the grid.
        """
        self.meet_under(source, task)
        grey = 1 in (task.input.shape[0], self.shape[0])
        self.seen = (1 if grey else self.shape[0], *self.shape[1:])  # as prepare leaves it
        self._meet_encoder(task)
        blank = torch.full((1, *task.input.shape), float(task.input.mean))
        features = self._features(blank.to(_device(self.encoder))).cpu()
        self.register_buffer("blank", features, persistent=False)
        length = self._trigger(features.shape[1])
        generator = torch.Generator().manual_seed(self.seed)
        self.vector = nn.Parameter(TRIGGER * torch.rand(length, generator=generator))
        maps = (features.shape[1] + length) // self.grid**2
        self.decoder = _decoder(maps, self.widths, self.shape[0], generator)
        if self.start == "zeros":
            nn.init.zeros_(self.decoder[-1].weight)  # pyright: ignore[reportArgumentType]

    def _meet_encoder(self, task: TaskSpec) -> None:
        """Learn how the task's images become the encoder's."""
        if self.encoder is None:
            if self.grid > min(self.shape[1:]):
                raise UserError(
                    f"argument 'grid' is {self.grid}, more frequencies than the image of "
                    f"{self.shape[1]}x{self.shape[2]} has; give less"
                )
            for name, side in zip(("rows", "columns"), self.shape[1:], strict=True):
                wave = cosines(side, self.grid) / math.sqrt(side)
                self.register_buffer(name, wave, persistent=False)
            return
        door = self.encoder.input
        if door.kind != "image":
            raise UserError(
                f"argument 'encoder' takes {door.kind!r}, and Coordinator shows it images; give a "
                "source of images, or None"
            )
        check_channels(task.input.shape[0], door.shape[0])
        self.its_units = units(task, door)

    def _trigger(self, features: int) -> int:
        """Length of the trigger beside so many features."""
        cells = self.grid**2
        missing = cells - features % cells
        if self.trigger is None:
            return missing
        if (features + self.trigger) % cells:
            raise UserError(
                f"argument 'trigger' is {self.trigger}, which with {features} features fills no "
                f"whole maps of {self.grid}x{self.grid}; give {missing}, {missing + cells} or so on"
            )
        return self.trigger

    def prepare(
        self, x: Float[Tensor, "batch c h w"]
    ) -> Float[Tensor, "batch pixels_and_features"]:
        """The image in the source's natural units, and behind it its features."""
        image = super().prepare(x)
        return torch.cat([image.flatten(1), self._features(x).to(image)], 1)

    @torch.no_grad()
    def _features(self, x: Float[Tensor, "batch c h w"]) -> Float[Tensor, "batch features"]:
        if self.encoder is None:
            image = (super().prepare(x) - self.bounds[0]) / half(self.bounds) - 1  # in [-1, 1]
            return (self.rows.T @ image @ self.columns).flatten(1)
        door, (scale, shift) = self.encoder.input, self.its_units
        seen = resized(as_channels(x, door.shape[0]), door.shape[1:]) * scale + shift
        features = self.encoder.features(seen)
        return (self.encoder(seen) if features is None else features).flatten(1)

    def forward(
        self, prepared: Float[Tensor, "batch pixels_and_features"]
    ) -> Float[Tensor, "batch channels H W"]:
        """The image, and what the decoder makes of its features."""
        image, features = prepared.split([math.prod(self.seen), self.blank.shape[1]], 1)
        return self.added(image.unflatten(1, self.seen), self._change(features))

    def picture(self) -> Float[Tensor, "channels H W"]:
        """What is added to an even image of the task's mean, in the source's natural units."""
        training = self.training
        change = self.eval()._change(self.blank)[0]  # no statistics move
        self.train(training)
        return change

    def _change(self, features: Float[Tensor, "batch f"]) -> Float[Tensor, "batch channels H W"]:
        vector = self.vector.expand(len(features), -1)
        maps = torch.cat([features, vector], 1).unflatten(1, (-1, self.grid, self.grid))
        pattern = self.decoder(maps)
        if pattern.shape[2:] != self.shape[1:]:
            pattern = F.interpolate(pattern, self.shape[1:], mode="bilinear", align_corners=False)
        return self.limited(pattern)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Coordinator:
        """Whatever moves this part moves its encoder."""
        if isinstance(self.encoder, nn.Module):
            self.encoder._apply(fn, recurse)
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        uri = None if self.encoder is None else self.encoder.uri
        trigger = "" if self.trigger is None else f", trigger={self.trigger}"
        return (f"encoder={uri!r}, strength={self.strength}{trigger}, grid={self.grid}, "
                f"widths={self.widths}, start={self.start!r}")  # fmt: skip


def _decoder(
    maps: int, widths: Sequence[int], channels: int, generator: torch.Generator
) -> nn.Sequential:
    """A block for each width, and the layer that writes the image: each doubles the side."""
    layers: list[nn.Module] = []
    for width in widths:
        wide = maps * math.ceil(width / maps)
        layers += [
            _doubling(maps, wide, groups=maps),
            _layer(nn.Conv2d, wide, width, 1),
            nn.BatchNorm2d(width),
            nn.GELU(),
        ]
        maps = width
    decoder = nn.Sequential(*layers, _doubling(maps, channels, groups=1))
    for weight in decoder.parameters():
        if weight.ndim > 1:  # of no batch-norm
            bound = 1 / math.sqrt(weight[0].numel())
            nn.init.uniform_(weight, -bound, bound, generator=generator)
    return decoder


def _doubling(inputs: int, outputs: int, *, groups: int) -> nn.Module:
    return _layer(nn.ConvTranspose2d, inputs, outputs, 2, stride=2, groups=groups)


def _layer(kind: type[nn.Module], *shape: int, **numbers: int) -> nn.Module:
    """Without bias, its weights not yet drawn."""
    return nn.utils.skip_init(kind, *shape, bias=False, **numbers)


def _device(encoder: Any) -> torch.device:
    """Where the encoder computes."""
    if not isinstance(encoder, nn.Module):
        return torch.device("cpu")
    tensors = chain(encoder.parameters(), encoder.buffers())
    return next((t.device for t in tensors), torch.device("cpu"))
