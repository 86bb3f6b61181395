"""A pattern spanned by few numbers."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.transformations.image import check_choice, spread
from reprogram.transformations.overlay import Added, Limit, border, check_width
from reprogram.transformations.sketch import sketch, synthesis
from reprogram.types import SourceLike, TaskSpec, UserError

Basis = Literal["grid", "dct", "random"]


class BasisOverlay(Added):
    """A pattern spanned by few numbers, added over the whole image or over its border.

    Estimates of a gradient from losses alone get worse with every dimension, so the pattern is a
    synthesis of few coefficients, limited behind it as in :class:`Overlay`; it starts at zero.

    A unit step in one of ``k`` coefficients (of a channel, or of all pixels for ``random``) changes
    the pixels by ``1 / sqrt(k)`` in the root mean square over the image (``grid``: by about 2/3 of
    that), before the limit: ``k`` of them together change it by about 1.

    Arguments:
        basis: ``grid``: values of ``size`` by ``size`` cells in each channel, interpolated
            (bilinear). ``dct``: the ``size`` by ``size`` lowest frequencies of each channel's
            DCT-II. ``random``: ``size`` directions over all pixels, each pixel in one of them with
            a random sign.
        size: 1 to the image's side (``grid``, ``dct``) or to the number of pixels (``random``).
        width: Of the border, in pixels, less than half the image; ``None`` for the whole image.
            ``grid`` then trains the cells that reach into it.
        strength: Largest change of a pixel, as a share of half the source's range, in (0, 1].
        squash: ``tanh``, ``sigmoid`` or ``clamp`` keep the pattern below the strength, and the sum
            is clipped to the source's bounds; ``none`` limits and clips nothing.
        colour: Whether each channel has a pattern of its own.
        seed: Of the random directions.

    Raises:
        UserError: for a value outside these ranges.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("image", (3, 32, 32), 0, 1), OutputSpec("classes", (10,)))
        >>> part = BasisOverlay(basis="dct", size=4)
        >>> part.bind(source, TaskSpec("toy", InputSpec("image", (1, 32, 32), 0, 1), ("a", "b")))
        >>> part.pattern.numel(), part(part.prepare(torch.rand(2, 1, 32, 32))).shape
        (48, torch.Size([2, 3, 32, 32]))
    """

    at: Tensor
    place: Tensor
    rows: Tensor
    columns: Tensor
    cells: Tensor
    shown: Tensor

    def __init__(
        self,
        *,
        basis: Basis = "grid",
        size: int = 8,
        width: int | None = None,
        strength: float = 1.0,
        squash: Limit = "tanh",
        colour: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(strength, squash)
        check_choice("basis", basis, ("grid", "dct", "random"))
        check_width(width)
        if size < 1:
            raise UserError(f"argument 'size' is {size}; give 1 or more")
        self.basis: Basis = basis
        self.size, self.width, self.colour, self.seed = size, width, colour, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Lay the basis out.

        Raises:
            UserError: if the image does not have the source's size, the basis does not fit it, or
                the border is no border.
        """
        self.meet_under(source, task)
        self.canvas = (self.shape[0] if self.colour else 1, *self.shape[1:])
        if self.width is None:
            at = torch.arange(math.prod(self.canvas))
        else:
            at = border(self.canvas, self.width)
        most = len(at) if self.basis == "random" else min(self.shape[1:])
        if self.size > most:
            raise UserError(
                f"argument 'size' is {self.size}; basis {self.basis!r} over {len(at)} pixels of "
                f"{self.shape[1]}x{self.shape[2]} takes {most} or less"
            )
        if self.basis == "random":
            self._lay("at", at)
            self._lay("place", sketch(len(at), self.size, self.seed))
            self.pattern = nn.Parameter(torch.zeros(self.size))
            return
        taps = hats if self.basis == "grid" else waves
        for name, side in zip(("rows", "columns"), self.shape[1:], strict=True):
            self._lay(name, taps(side, self.size))
        self._lay("shown", spread(torch.ones(len(at)), at, self.canvas)[0])
        reach = self.rows.abs().T @ self.shown @ self.columns.abs()
        self._lay("cells", reach.reshape(-1).nonzero()[:, 0])
        self.pattern = nn.Parameter(torch.zeros(self.canvas[0], len(self.cells)))

    def synthesis(self) -> Float[Tensor, "channels H W"]:
        """The pattern before its limit, zero where nothing is added."""
        if self.basis == "random":
            pattern = spread(synthesis(self.pattern, self.place), self.at, self.canvas)
        else:
            every = self.pattern.new_zeros(self.canvas[0], self.size**2)
            cells = every.index_copy(1, self.cells, self.pattern)
            pattern = self.rows @ cells.unflatten(1, (self.size, self.size)) @ self.columns.T
            pattern = pattern * self.shown
        return pattern.expand(self.shape)

    def picture(self) -> Float[Tensor, "channels H W"]:
        """What is added, in the source's natural units."""
        return self.limited(self.synthesis())

    def forward(
        self, prepared: Float[Tensor, "batch c H W"]
    ) -> Float[Tensor, "batch channels H W"]:
        """The image plus the pattern."""
        return self.added(prepared, self.picture())

    def _lay(self, name: str, table: Tensor) -> None:
        self.register_buffer(name, table, persistent=False)

    def extra_repr(self) -> str:
        width = "" if self.width is None else f", width={self.width}"
        strength = "" if self.squash == "none" else f", strength={self.strength}"
        grey = "" if self.colour else ", colour=False"
        return (
            f"basis={self.basis!r}, size={self.size}{width}{strength}, squash={self.squash!r}{grey}"
        )


def hats(side: int, size: int) -> Float[Tensor, "side size"]:
    """What each of ``size`` cells gives to each pixel, by linear interpolation."""
    return F.interpolate(torch.eye(size)[None], side, mode="linear", align_corners=False)[0].T


def waves(side: int, size: int) -> Float[Tensor, "side size"]:
    """The lowest cosines of the DCT-II, ``sqrt(side / size)`` times as long as orthonormal ones."""
    return math.sqrt(side / size) * cosines(side, size)


def cosines(side: int, size: int) -> Float[Tensor, "side size"]:
    """The ``size`` lowest cosines of the orthonormal DCT-II, a column each.

    Example:
        >>> wave = cosines(8, 3)
        >>> torch.allclose(wave.T @ wave, torch.eye(3), atol=1e-6)
        True
    """
    phase = (torch.arange(side, dtype=torch.float64)[:, None] + 0.5) * torch.arange(size)
    wave = (math.pi / side * phase).cos() * math.sqrt(2 / side)
    wave[:, 0] = math.sqrt(1 / side)
    return wave.float()
