"""An automaton as a frozen source."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from reprogram.draws import forked_rng
from reprogram.sources.automata.cells import Cell
from reprogram.sources.automata.rollout import Rollout
from reprogram.sources.base import TorchSource
from reprogram.sources.control import permute
from reprogram.types import Batch, Cells, InputSpec, OutputSpec

BOUND, LONG = 100.0, 100  # a control stays within this for so many steps


class AutomatonSource(TorchSource):
    """A frozen automaton: a state, or :class:`~reprogram.types.Cells`, to the state it ends in.

    Any grid size may enter; that of ``input`` is the usual one. ``rollout.cell`` is its rule.

    Arguments:
        rollout: Frozen in place.
        input: A state.
        output: A state.
        uri: Under which name a saved program finds it again.
    """

    def __init__(
        self, rollout: Rollout, input: InputSpec, output: OutputSpec, *, uri: str | None = None
    ) -> None:
        super().__init__(rollout, output, input=input, uri=uri)

    @property
    def rollout(self) -> Rollout:
        """The run, with its rule and its number of steps."""
        return self.chain[-1]  # pyright: ignore[reportReturnType]

    def run(self, x: Batch) -> Iterator[Tensor]:
        """Every state, from the first one that is given to the last."""
        return self.rollout.run(x)  # pyright: ignore[reportArgumentType]

    def fingerprint(self) -> str:
        """SHA-256 over the weights, the specifications and the number of steps."""
        told = f"{super().fingerprint()} steps={self.rollout.steps}"
        return hashlib.sha256(told.encode()).hexdigest()

    def randomised(self, seed: int, batch: Batch | None = None) -> AutomatonSource:
        """The same architecture with every weight tensor permuted in itself.

        A rule that knows nothing may let its state grow without end, so the last layer is halved
        until a run of 100 steps stays within 100.

        Arguments:
            seed: Of the permutations, and of the runs.
            batch: States from which those runs start; seeded noise if absent.
        """
        generator = torch.Generator().manual_seed(seed)
        rollout = copy.deepcopy(self.rollout)
        permute(rollout, generator)
        if batch is None:
            state = torch.randn(4, rollout.cell.channels, 8, 8, generator=generator)
        else:
            state = (batch if isinstance(batch, Tensor) else batch.values)[:4]
        _calm(rollout, state.detach(), seed)
        return AutomatonSource(rollout, self.input, self.output)


def automaton_source(
    cell: Cell,
    *,
    steps: int,
    shape: Sequence[int],
    uri: str | None = None,
    names: tuple[str, ...] = (),
) -> AutomatonSource:
    """The frozen source of a rule.

    Arguments:
        cell: The rule, frozen in place.
        steps: How often it is applied, where a batch does not say.
        shape: Height and width of the usual grid.
        uri: Under which name a saved program finds it again.
        names: Of the classes that a cell may say, if it says any.

    Raises:
        UserError: if ``steps`` is below 1.

    Example:
        >>> from reprogram.sources.automata import DigitCell
        >>> source = automaton_source(DigitCell(), steps=20, shape=(28, 28))
        >>> source.input.shape, source(torch.zeros(2, 20, 14, 14)).shape
        ((20, 28, 28), torch.Size([2, 20, 14, 14]))
    """
    state = (cell.channels, *shape)
    return AutomatonSource(
        Rollout(cell, steps), InputSpec("state", state), OutputSpec("state", state, names), uri=uri
    )


@torch.no_grad()
def _calm(rollout: Rollout, state: Tensor, seed: int) -> None:
    """Halve the last layer until a long run stays small."""
    bound = max(BOUND, float(state.abs().max()))
    layer = rollout.cell.out
    with forked_rng(seed, 0):
        for _ in range(64):  # 2^-64: it stands still
            run = rollout.run(Cells(state, steps=LONG))
            if all(state.abs().max() <= bound for state in run):  # ends where it is false
                return
            layer.weight.data.mul_(0.5)
            layer.bias.data.mul_(0.5)
