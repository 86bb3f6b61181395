"""The rule by which the cells of a digit agree which digit they are."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reprogram.sources.automata.cells import Cell, added, fires, seen, uniform, zeros


class DigitCell(Cell):
    """A cell of a self-classifying digit: one grey value that stays, hidden ones, a score a class.

    A 3 x 3 convolution and two layers on each cell tell what is added to its state; cells darker
    than the threshold are dead and stay as they are.

    Arguments:
        channels: Of the state: 1 grey, then hidden ones, the last ``classes`` scores.
        classes: What a cell may say.
        width: Of both hidden layers.
        noise: Standard deviation of what is added to every update.
        rate: Share of the cells that fire in a step, in (0, 1].
        threshold: Grey value above which a cell is alive.

    References:
        | Self-classifying MNIST digits (Randazzo, Mordvintsev, Niklasson, Levin, Greydanus, 2020),
          Distill, doi:10.23915/distill.00027.002

    Example:
        >>> cell = DigitCell()
        >>> state = cell.initial(torch.rand(2, 1, 28, 28))
        >>> cell(state).shape, sum(p.numel() for p in cell.parameters())
        (torch.Size([2, 20, 28, 28]), 22499)
    """

    def __init__(
        self,
        *,
        channels: int = 20,
        classes: int = 10,
        width: int = 80,
        noise: float = 0.02,
        rate: float = 0.5,
        threshold: float = 0.1,
    ) -> None:
        super().__init__()
        self.channels, self.classes, self.width = channels, classes, width
        self.noise, self.rate, self.threshold = noise, rate, threshold
        self.perceive = nn.Linear(9 * channels, width)  # of the places, then of the channels
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, channels - 1)
        self.reset()

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew, in place; the last layer begins at zero."""
        uniform(self.perceive, 9 * (self.channels + self.width), generator)
        uniform(self.hidden, 2 * self.width, generator)
        zeros(self.out)

    def initial(
        self, images: Float[Tensor, "batch 1 height width"]
    ) -> Float[Tensor, "batch channels height width"]:
        """Where a run on these grey images in [0, 1] begins: everything but the grey is zero."""
        return nn.functional.pad(images, (0, 0, 0, 0, 0, self.channels - 1))

    def living(
        self, state: Float[Tensor, "batch channels height width"]
    ) -> Bool[Tensor, "batch 1 height width"]:
        """The cells that the digit is drawn on."""
        return state[:, :1] > self.threshold

    def forward(
        self,
        state: Float[Tensor, "batch channels height width"],
        where: Bool[Tensor, "batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """The next state (see :meth:`Cell.forward`)."""
        active = fires(state, self.rate) & self.living(state)
        seed = int(torch.randint(2**62, ()))
        active = active if where is None else active & where
        x = seen(state, active).flatten(1)  # (cells, 9 channels)
        x = self.perceive(x).relu()
        x = self.hidden(x).relu()
        update = self.out(x) + self.noise * _normal(len(x), self.channels - 1, seed).to(x)
        return added(state, active, nn.functional.pad(update, (1, 0)))  # the grey stays


def _normal(rows: int, columns: int, seed: int) -> Tensor:
    """Of the computed cells alone, from a seed: drawn for the whole grid it would cost the most."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
