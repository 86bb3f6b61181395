"""The rule by which one cell grows into a picture."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from reprogram.sources.automata.cells import Cell, added, dilated, fires, kept, seen, uniform, zeros
from reprogram.types import UserError

ALPHA = 3  # channel: red, green, blue, alpha, then hidden ones
OWN = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
FILTERS = torch.stack([OWN, SOBEL, SOBEL.T])  # what a cell sees of each channel


class GrowingCell(Cell):
    """A cell of a growing picture: red, green, blue and alpha (premultiplied), and hidden values.

    It sees its own state and the slope of every channel in both directions; two layers tell what is
    added. A cell is alive where alpha is above the threshold in it or beside it; what is not alive
    before the step and after is zero.

    Arguments:
        channels: Of the state, at least 4.
        width: Of the hidden layer.
        rate: Share of the cells that fire in a step, in (0, 1].
        threshold: Of alpha.

    References:
        | Growing neural cellular automata (Mordvintsev, Randazzo, Niklasson, Levin, 2020), Distill,
          doi:10.23915/distill.00023

    Example:
        >>> cell = GrowingCell()
        >>> cell(cell.seed(32, 32)).shape, sum(p.numel() for p in cell.parameters())
        (torch.Size([1, 16, 32, 32]), 8336)
    """

    filters: Tensor

    def __init__(
        self,
        *,
        channels: int = 16,
        width: int = 128,
        rate: float = 0.5,
        threshold: float = 0.1,
    ) -> None:
        super().__init__()
        if channels <= ALPHA:
            raise UserError(f"argument 'channels' is {channels}; a growing cell has red, green, "
                            "blue and alpha: give 4 or more")  # fmt: skip
        self.channels, self.width, self.rate, self.threshold = channels, width, rate, threshold
        # As one matrix (9 channels, 3 channels): of the places, to the filters of each channel.
        matrix = torch.einsum("fp,cd->pcdf", FILTERS.flatten(1), torch.eye(channels))
        self.register_buffer("filters", matrix.reshape(9 * channels, -1), persistent=False)
        self.hidden = nn.Linear(3 * channels, width)  # of the channels, then of the filters
        self.out = nn.Linear(width, channels)
        self.reset()

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew, in place; the last layer begins at zero."""
        uniform(self.hidden, 3 * self.channels + self.width, generator)
        zeros(self.out)

    def seed(self, height: int, width: int) -> Float[Tensor, "1 channels height width"]:
        """A grid with one cell in its middle that is alive: alpha and all hidden values are 1.

        Example:
            >>> GrowingCell().seed(5, 7).sum((0, 1))[2].tolist()
            [0.0, 0.0, 0.0, 13.0, 0.0, 0.0, 0.0]
        """
        state = torch.zeros(1, self.channels, height, width)
        state[:, ALPHA:, height // 2, width // 2] = 1
        return state

    def living(
        self, state: Float[Tensor, "batch channels height width"]
    ) -> Bool[Tensor, "batch 1 height width"]:
        """The cells with enough alpha in them or beside them."""
        alpha = state[:, ALPHA : ALPHA + 1]
        return dilated(~(alpha <= self.threshold))  # what is no number does not pass for dead

    def forward(
        self,
        state: Float[Tensor, "batch channels height width"],
        where: Bool[Tensor, "batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """The next state (see :meth:`Cell.forward`)."""
        alive = self.living(state)
        wanted = alive if where is None else alive & where
        # A dead neighbour's new alpha may keep a cell alive.
        active = fires(state, self.rate) & dilated(wanted)
        x = seen(state, active).flatten(1) @ self.filters  # (cells, 3 channels)
        grown = added(state, active, self.out(self.hidden(x).relu()))
        grown = kept(grown, alive & self.living(grown))
        return grown if where is None else torch.where(where, grown, state)
