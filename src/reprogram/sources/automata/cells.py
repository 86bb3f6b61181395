"""What every rule of a cell does alike: see its neighbours, add to its state, begin anew.

Most cells of a grid are dead or do not fire in a step, so a rule gathers the neighbourhoods of the
others, computes all of them as rows of one matrix, and puts the rows back.
"""

from __future__ import annotations

import copy

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Cell(nn.Module):
    """One step of an automaton: state -> state.

    Attributes:
        channels: Of a state.
        rate: Share of the cells that fire in a step.
        out: The last layer, zero in the beginning.
    """

    channels: int
    rate: float
    out: nn.Linear

    def forward(
        self,
        state: Float[Tensor, "batch channels height width"],
        where: Bool[Tensor, "batch 1 height width"] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """The next state.

        Arguments:
            state: Of any grid size.
            where: Cells whose next state is wanted; the others keep theirs. What is drawn is the
                same with it and without.
        """
        raise NotImplementedError

    def living(
        self, state: Float[Tensor, "batch channels height width"]
    ) -> Bool[Tensor, "batch 1 height width"]:
        """Which cells are alive."""
        raise NotImplementedError

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw the weights anew, in place; the last layer begins at zero."""
        raise NotImplementedError

    def fresh(self, generator: torch.Generator) -> Cell:
        """The same architecture that knows nothing yet, its weights to be trained."""
        cell = copy.deepcopy(self).requires_grad_(True)
        cell.reset(generator)
        return cell


def fires(
    state: Float[Tensor, "batch channels height width"], rate: float
) -> Bool[Tensor, "batch 1 height width"]:
    """Which cells fire; drawn for the whole grid, so that it does not depend on what is alive."""
    batch, _, height, width = state.shape
    return (torch.rand(batch, 1, height, width) < rate).to(state.device)


def dilated(mask: Bool[Tensor, "batch 1 height width"]) -> Bool[Tensor, "batch 1 height width"]:
    """The cells of a mask and their eight neighbours.

    Example:
        >>> mask = torch.zeros(1, 1, 4, 5, dtype=torch.bool)
        >>> mask[0, 0, 0, 1] = True
        >>> dilated(mask)[0, 0].int().tolist()
        [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
    """
    mask = nn.functional.pad(mask, (1, 1, 1, 1))
    mask = mask[:, :, :-2] | mask[:, :, 1:-1] | mask[:, :, 2:]
    return mask[..., :-2] | mask[..., 1:-1] | mask[..., 2:]


def seen(
    state: Float[Tensor, "batch channels height width"],
    active: Bool[Tensor, "batch 1 height width"],
) -> Float[Tensor, "cells 9 channels"]:
    """The neighbourhood of each active cell, row by row; zeros beyond the edge.

    Example:
        >>> state = torch.arange(12.0).reshape(1, 1, 3, 4)
        >>> active = state == 4
        >>> seen(state, active)[0, :, 0].tolist()
        [0.0, 0.0, 1.0, 0.0, 4.0, 5.0, 0.0, 8.0, 9.0]
    """
    channels, below = state.shape[1], state.shape[3] + 2  # a row further in the padded grid
    grid = nn.functional.pad(state.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    places = nn.functional.pad(active[:, 0], (1, 1, 1, 1)).flatten().nonzero()  # (cells, 1)
    around = [y * below + x for y in (-1, 0, 1) for x in (-1, 0, 1)]
    index = (places + torch.tensor(around, device=state.device)).flatten()
    return grid.reshape(-1, channels).index_select(0, index).reshape(-1, 9, channels)


def added(
    state: Float[Tensor, "batch channels height width"],
    active: Bool[Tensor, "batch 1 height width"],
    update: Float[Tensor, "cells channels"],
) -> Float[Tensor, "batch channels height width"]:
    """The state with an update added to each active cell; channels lie last in memory."""
    rows = state.permute(0, 2, 3, 1)  # (batch, height, width, channels)
    places = active.flatten().nonzero()[:, 0]
    flat = rows.reshape(-1, state.shape[1]).index_add(0, places, update)
    return flat.reshape(rows.shape).permute(0, 3, 1, 2)


def kept(
    state: Float[Tensor, "batch channels height width"],
    mask: Bool[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch channels height width"]:
    """The state of the cells of a mask, zeros elsewhere; channels lie last in memory.

    Example:
        >>> state = torch.arange(1.0, 5).reshape(1, 1, 2, 2)
        >>> kept(state, state > 2)[0, 0].tolist()
        [[0.0, 0.0], [3.0, 4.0]]
    """
    rows = state.permute(0, 2, 3, 1)  # (batch, height, width, channels)
    flat = rows.reshape(-1, state.shape[1])
    places = mask.flatten().nonzero()[:, 0]
    flat = torch.zeros_like(flat).index_copy_(0, places, flat.index_select(0, places))
    return flat.reshape(rows.shape).permute(0, 3, 1, 2)


def uniform(layer: nn.Linear, fans: int, generator: torch.Generator | None) -> None:
    """Weights within Glorot's bound for that many inputs and outputs together, biases zero."""
    bound = (6 / fans) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.zeros_(layer.bias)


def zeros(layer: nn.Linear) -> None:
    """Weights and biases zero: the automaton begins by standing still."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
