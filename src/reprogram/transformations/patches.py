"""Tokens as patches of one image: language for a source that sees."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.canvas import ground, written
from reprogram.transformations.base import Transformation, require_kinds
from reprogram.transformations.image import finite_bounds, half
from reprogram.types import SourceLike, TaskSpec, UserError


class Patches(Transformation):
    """Each token is a trainable patch of an image; a text is the patches in reading order.

    ``x = clip(base + strength r tanh(Theta[t]))`` with half the source's range ``r``. Over grey
    with strength 1 the patches may hold any colour (the paper's unbounded variant); a smaller
    strength keeps the image that close to ``base`` in every channel (its bounded one, L-infinity).
    Places behind the text hold the patch of the filling, which is trained like any other; tokens
    that find no place are cut, and counted. The table is squashed once a step and then looked up.

    A convolutional source hardly knows where in an image it sees something. With ``places`` each
    place has a trained pattern of its own under the ``tanh``, ``tanh(Theta[t_i] + Phi_i)``: it
    tells the place, and where it saturates the tokens there are not seen. The paper has none.

    References:
        | Cross-modal Adversarial Reprogramming (Neekhara, Hussain, Du, Dubnov, Koushanfar,
          McAuley, 2022, WACV). https://arxiv.org/abs/2102.07325

    Arguments:
        size: Side of a patch in pixels; ``None`` for the largest with which the grid holds the
            longest text. The paper has 16 of 384, for 576 tokens.
        strength: Largest change of a pixel, as a share of half the source's range, in (0, 1]. The
            paper's 0.2 of ViT is 0.2 here, 0.1 of the pixels' whole range.
        base: ``"grey"``, ``"uniform"`` for a seeded draw within the source's bounds, or an image
            file, which is resized to the source's input.
        places: Whether each place has a trained pattern of its own.
        start: Standard deviation of the table's first values, before ``tanh``.
        seed: Of the table and of the drawn base.

    Raises:
        UserError: for a value outside these ranges, or a file that is no image.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("image", (3, 32, 32), 0, 1), OutputSpec("classes", (10,)))
        >>> part = Patches(size=8)
        >>> part.bind(source, TaskSpec("dna", InputSpec("tokens", (12,), 0, 5), ("a", "b")))
        >>> part(part.prepare(torch.tensor([[2, 3, 4, 5] * 3]))).shape
        torch.Size([1, 3, 32, 32])
    """

    base_image: Float[Tensor, "channels H W"]

    def __init__(
        self,
        *,
        size: int | None = None,
        strength: float = 1.0,
        base: str = "grey",
        places: bool = False,
        start: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if size is not None and size < 1:
            raise UserError(f"argument 'size' is {size}; give pixels, 1 or more, or None")
        if not 0 < strength <= 1:
            raise UserError(f"argument 'strength' is {strength}; give a share in (0, 1]")
        if not 0 < start < float("inf"):
            raise UserError(f"argument 'start' is {start}; give a positive number")
        self.size, self.strength, self.start, self.seed = size, strength, start, seed
        self.base, self.places = written(base), places

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Lay out the grid and draw a patch for each token.

        Raises:
            UserError: if the task is not of tokens or the door not of images, the door has no
                finite bounds, or a patch is larger than its image.
        """
        require_kinds(self, source, "image", task, "tokens")
        self.bounds = finite_bounds(self, source)
        self.shape = source.input.shape
        self.side = self.size or fitting(self.shape, task.input.shape[0])
        if self.side > min(self.shape[1:]):
            raise UserError(f"argument 'size' is {self.side}; the source's image is "
                            f"{self.shape[1]}x{self.shape[2]}: give a side that fits")  # fmt: skip
        self.grid = self.shape[1] // self.side, self.shape[2] // self.side
        image = ground(source.input, self.base, self.seed)
        self.register_buffer("base_image", image, persistent=False)
        tokens = int(task.input.upper) + 1
        generator = torch.Generator().manual_seed(self.seed)
        table = torch.randn(tokens, self.shape[0] * self.side**2, generator=generator)
        self.table = nn.Parameter(self.start * table)  # (tokens, channels side side)
        if self.places:
            self.patterns = nn.Parameter(table.new_zeros(self.room, table.shape[1]))

    @property
    def room(self) -> int:
        """Tokens that find a place."""
        return capacity(self.shape, self.side)

    def prepare(self, x: Shaped[Tensor, "batch length"]) -> Int[Tensor, "batch places"]:
        """Ids for every place of the grid, filled up with 0."""
        kept = x[:, : self.room].int()
        return F.pad(kept, (0, self.room - kept.shape[1]))

    def tally(self, x: Shaped[Tensor, "batch length"]) -> dict[str, int]:
        """Samples of which a token found no place."""
        return {"cut": int(x[:, self.room :].bool().any(1).sum())}

    def forward(self, prepared: Int[Tensor, "batch places"]) -> Float[Tensor, "batch channels H W"]:
        """The text as an image."""
        if self.places:
            patches = (F.embedding(prepared, self.table) + self.patterns).tanh()
        else:
            patches = F.embedding(prepared, self.table.tanh())  # (batch, places, c side side)
        change = self.strength * half(self.bounds) * patches
        rows = change.unflatten(1, self.grid).unflatten(3, (-1, self.side, self.side))
        image = rows.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        margin = (0, self.shape[2] - image.shape[3], 0, self.shape[1] - image.shape[2])
        return (self.base_image + F.pad(image, margin)).clamp(*self.bounds)

    def picture(self) -> Float[Tensor, "channels H W"]:
        """The patches of the tokens, in order, as many as there are places."""
        tokens = torch.arange(len(self.table), device=self.table.device)
        return self(self.prepare(tokens[None]))[0]

    def extra_repr(self) -> str:
        base = self.base if len(self.base) < 20 else "a picture"
        return (f"size={self.size}, strength={self.strength}, base={base!r}, places={self.places}, "
                f"start={self.start}")  # fmt: skip


def capacity(shape: tuple[int, ...], side: int) -> int:
    """Patches of that side in an image (channels, height, width).

    Example:
        >>> capacity((3, 384, 384), 16)
        576
    """
    return (shape[1] // side) * (shape[2] // side)


def fitting(shape: tuple[int, ...], longest: int) -> int:
    """Side of the largest patch of which the image holds ``longest``; 1 pixel if it never does.

    Example:
        >>> fitting((3, 384, 384), 512), fitting((3, 128, 128), 20)
        (16, 25)
    """
    sides = range(min(shape[1:]), 0, -1)
    return next((side for side in sides if capacity(shape, side) >= longest), 1)
