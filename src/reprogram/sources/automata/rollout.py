"""Runs of a rule."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from reprogram.draws import forked_rng
from reprogram.sources.automata.cells import Cell
from reprogram.types import Cells, UserError


class Rollout(nn.Module):
    """An automaton: a rule applied again and again.

    Arguments:
        cell: The rule.
        steps: How often, where a batch does not say.

    Raises:
        UserError: if ``steps`` is below 1.

    Example:
        >>> from reprogram.sources.automata.growing import GrowingCell
        >>> rollout = Rollout(GrowingCell(), steps=3)
        >>> seed = rollout.cell.seed(16, 16)
        >>> rollout(seed).shape, len(list(rollout.run(Cells(seed, steps=5))))
        (torch.Size([1, 16, 16, 16]), 6)
    """

    random = True  # cells fire by chance

    def __init__(self, cell: Cell, steps: int) -> None:
        super().__init__()
        if steps < 1:
            raise UserError(f"argument 'steps' is {steps}; an automaton takes at least 1 step")
        self.cell, self.steps = cell, steps

    def forward(self, x: Tensor | Cells) -> Tensor:
        """The last state (batch, channels, height, width), of any grid size."""
        (last,) = deque(self.run(x), maxlen=1)  # the others are let go
        return last

    def run(self, x: Tensor | Cells) -> Iterator[Tensor]:
        """Every state, from the first one that is given to the last.

        Arguments:
            x: States (batch, channels, height, width), or
                :class:`~reprogram.types.Cells` with their number of steps and an intervention.

        Raises:
            UserError: if a state has other channels than the rule.
        """
        cells = x if isinstance(x, Cells) else Cells(x)
        state = cells.values
        if state.ndim != 4 or state.shape[1] != self.cell.channels:
            raise UserError(f"the state has shape {tuple(state.shape)} and the automaton "
                            f"{self.cell.channels} channels; give (batch, {self.cell.channels}, "
                            "height, width)")  # fmt: skip
        yield state
        for _ in range(self.steps if cells.steps is None else cells.steps):
            if cells.intervene is None:
                state = self.cell(state)
            else:
                state = cells.intervene(self.cell, state, cells.mask)
            yield state

    @torch.no_grad()
    def grown(self, state: Tensor, *, steps: int = 200, seed: int = 0) -> Tensor:
        """What becomes of a state after these steps, with draws of its own.

        Arguments:
            state: (batch, channels, height, width).
            steps: Applications of the rule.
            seed: Of the draws; torch's own are not touched.
        """
        with forked_rng(seed, 0):
            return self(Cells(state, steps=steps))
