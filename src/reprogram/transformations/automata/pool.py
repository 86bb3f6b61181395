"""States that runs came to, from which later runs go on."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from reprogram.types import UserError


class Visit(NamedTuple):
    """What a batch found in a pool."""

    slots: Int[Tensor, " batch"]  # where each sample's state is put, none twice
    going: Bool[Tensor, " batch"]  # whether it goes on from the state that lies there
    carried: Bool[Tensor, " batch"]  # whether that is another sample's


class Pool(nn.Module):
    """States with their masks and the samples that they belong to, in buffers that are not saved.

    Arguments:
        size: States that are kept.
        shape: Of one (channels, height, width).
        key: Shape of what tells one sample from another.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> pool = Pool(4, (1, 2, 2), ())
        >>> keys = torch.tensor([0.0, 1.0])
        >>> visit = pool.visit(keys, fresh=0.0, mutated=0.0)
        >>> visit.going
        tensor([False, False])
        >>> pool.put(visit.slots, keys, torch.ones(2, 1, 2, 2), torch.ones(2, 1, 2, 2) > 0)
        >>> pool.visit(keys, fresh=0.0, mutated=0.0).going
        tensor([True, True])
    """

    states: Tensor
    masks: Tensor
    keys: Tensor
    filled: Tensor

    def __init__(self, size: int, shape: tuple[int, int, int], key: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        made = {
            "states": torch.zeros(size, *shape),
            "masks": torch.zeros(size, 1, *shape[1:], dtype=torch.bool),
            "keys": torch.zeros(size, *key),
            "filled": torch.zeros(size, dtype=torch.bool),
        }
        for name, buffer in made.items():
            self.register_buffer(name, buffer, persistent=False)

    def visit(self, keys: Float[Tensor, "batch ..."], *, fresh: float, mutated: float) -> Visit:
        """A slot for each sample, drawn from torch's generator; nothing is changed.

        A sample begins anew with probability ``fresh``, and where it finds no state. Otherwise it
        goes on: with probability ``mutated`` from any state, else from one of an equal sample.

        Raises:
            UserError: if the batch is larger than the pool.
        """
        if len(keys) > self.size:
            raise UserError(f"argument 'pool' is {self.size} and a batch has {len(keys)} samples; "
                            "give at least as many states")  # fmt: skip
        free = torch.randperm(self.size).tolist()
        anew = (torch.rand(len(keys)) < fresh).tolist()
        others = (torch.rand(len(keys)) < mutated).tolist()
        filled = self.filled.tolist()
        equal = self.keys.reshape(1, self.size, -1) == keys.reshape(len(keys), 1, -1)
        own = (equal.all(2) & self.filled).tolist()  # (batch, size)
        slots, going, carried = [], [], []
        for begins, another, same in zip(anew, others, own, strict=True):
            found = None if begins else _first(free, filled if another else same)
            going.append(found is not None)
            carried.append(found is not None and another)
            if found is None:  # an empty slot if there is one
                found = _first(free, [not full for full in filled])
            slots.append(free[0] if found is None else found)
            free.remove(slots[-1])
        device = keys.device
        return Visit(
            torch.tensor(slots, device=device),
            torch.tensor(going, device=device),
            torch.tensor(carried, device=device),
        )

    def put(self, slots: Tensor, keys: Tensor, states: Tensor, masks: Tensor) -> None:
        """Lay states down; nobody goes on from one that is not finite."""
        self.states[slots], self.masks[slots], self.keys[slots] = states, masks, keys
        self.filled[slots] = states.isfinite().flatten(1).all(1)


def _first(slots: list[int], fits: list[bool]) -> int | None:
    return next((slot for slot in slots if fits[slot]), None)


def circles(n: int, height: int, width: int) -> Bool[Tensor, "n 1 height width"]:
    """A circle in each grid: centre in its middle half, radius 0.05 to 0.2 of its sides.

    Example:
        >>> circles(3, 20, 20).flatten(1).any(1)
        tensor([True, True, True])
    """
    x = torch.linspace(-1, 1, width)
    y = torch.linspace(-1, 1, height)[:, None]
    a, b = (torch.rand(2, n, 1, 1, 1) - 0.5).unbind()
    radius = 0.1 + 0.3 * torch.rand(n, 1, 1, 1)
    return (x - a) ** 2 + (y - b) ** 2 < radius**2
