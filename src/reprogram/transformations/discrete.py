"""A pattern of few levels, drawn from a distribution that is trained."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.transformations.overlay import Added
from reprogram.types import SourceLike, TaskSpec, UserError

TILT = 0.5  # how much likelier, in nats, the middle level is than the outermost at the start
NOISE = 0.01  # deviation of the logits at the start


class DiscreteOverlay(Added):
    """A coarse grid of cells added over the image, each at one of few levels drawn by chance.

    What is trained is the distribution: a categorical one for each cell and channel, its logits
    near uniform at the start, the middle level the likeliest. :meth:`sample` draws patterns for a
    score-function estimator; the program itself takes the likeliest levels, through which no
    gradient passes: ``Backprop`` is refused.

    Arguments:
        size: Cells along each side, 1 to the image's side.
        levels: Evenly spaced from ``-strength`` to ``strength``, 2 or more; an odd number has 0.
        strength: Largest change of a pixel, as a share of half the source's range, in (0, 1].
        seed: Of the logits at the start.

    Raises:
        UserError: for a value outside these ranges.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("image", (3, 32, 32), 0, 1), OutputSpec("classes", (10,)))
        >>> part = DiscreteOverlay(size=4, levels=3)
        >>> part.bind(source, TaskSpec("toy", InputSpec("image", (1, 32, 32), 0, 1), ("a", "b")))
        >>> x, log_p = part.sample(part.prepare(torch.rand(2, 1, 32, 32)), 5)
        >>> x.shape, log_p.shape
        (torch.Size([5, 2, 3, 32, 32]), torch.Size([5, 2]))
    """

    values: Tensor

    def __init__(
        self, *, size: int = 8, levels: int = 3, strength: float = 1.0, seed: int = 0
    ) -> None:
        super().__init__(strength, "clamp")
        if size < 1:
            raise UserError(f"argument 'size' is {size}; give a number of cells, 1 or more")
        if levels < 2:
            raise UserError(f"argument 'levels' is {levels}; give 2 or more")
        self.size, self.levels, self.seed = size, levels, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the logits.

        Raises:
            UserError: if the image does not have the source's size, or fewer pixels than cells.
        """
        self.meet_under(source, task)
        channels, height, width = self.shape
        if self.size > min(height, width):
            raise UserError(
                f"argument 'size' is {self.size}, more cells than the image of {height}x{width} "
                f"has pixels; give {min(height, width)} or less"
            )
        values = torch.arange(1 - self.levels, self.levels, 2) / (self.levels - 1)  # 0 is exact
        self.register_buffer("values", values, persistent=False)
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(channels, self.size, self.size, self.levels, generator=generator)
        self.logits = nn.Parameter(NOISE * noise - TILT * self.values.abs())

    def sample(
        self, prepared: Float[Tensor, "batch c H W"], n: int
    ) -> tuple[Float[Tensor, "n batch channels H W"], Float[Tensor, "n batch"]]:
        """Each image under ``n`` patterns of its own, drawn by torch's global generator.

        Returns:
            The inputs, and the log-probabilities of their patterns, with a graph to the logits.
        """
        drawing = torch.distributions.Categorical(logits=self.logits)
        level = drawing.sample((n, len(prepared)))  # (n, batch, channels, size, size)
        change = self._enlarged(level.flatten(0, 1)).unflatten(0, level.shape[:2])
        return self.added(prepared, change), drawing.log_prob(level).sum((2, 3, 4))

    def picture(self) -> Float[Tensor, "channels H W"]:
        """The likeliest pattern, in the source's natural units."""
        return self._enlarged(self.logits.detach().argmax(-1)[None])[0]

    def forward(
        self, prepared: Float[Tensor, "batch c H W"]
    ) -> Float[Tensor, "batch channels H W"]:
        """The image plus the likeliest pattern."""
        return self.added(prepared, _Constant.apply(self.picture(), self.logits))

    def _enlarged(self, level: Int[Tensor, "n c size size"]) -> Float[Tensor, "n c H W"]:
        return F.interpolate(self.limited(self.values[level]), self.shape[1:], mode="nearest")

    def extra_repr(self) -> str:
        return f"size={self.size}, levels={self.levels}, strength={self.strength}"


class _Constant(torch.autograd.Function):
    """A tensor that was chosen by parameters, and refuses to carry a gradient to them."""

    @staticmethod
    def forward(ctx: Any, chosen: Tensor, logits: Tensor) -> Tensor:
        return chosen.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise UserError(
            "DiscreteOverlay takes the likeliest levels, and no gradient passes through that "
            "choice; use the optimizer ScoreFunction, or another pattern, such as BasisOverlay"
        )
