"""What every intervention shares: where a run starts, how long it lasts, and the pool."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from reprogram.transformations.automata.pool import Pool, Visit, circles
from reprogram.transformations.automata.start import Start, start_of
from reprogram.transformations.base import Transformation
from reprogram.types import Cells, Intervene, SourceLike, TaskSpec, UserError

Steps = int | Sequence[int] | None


class Intervention(Transformation):
    """A run of a frozen automaton, at every step of which the program takes part.

    While training, a run goes on from where an earlier one stopped: the pool keeps the states that
    came out, each with its mask. What it keeps is no part of the program. A subclass writes
    :meth:`intervention`, and :meth:`mask` if it places cells.

    Arguments:
        steps: Of a run while training: a number, or ``[low, high]``, drawn anew for each batch and
            below ``high``; ``None`` for the source's own.
        evaluation: Steps of a run in evaluation; ``None`` for the source's own.
        pool: States that are kept, at least those of a batch; 0 for none.
        fresh: Share of the samples of a batch that begin anew, in [0, 1].
        mutated: Share of the others that go on from any sample's state, which is kept where the new
            one lives, in [0, 1]; the rest goes on from an equal sample's if the pool holds one, and
            begins anew if not.
        damaged: Share of those that go on of which a circle is erased, in [0, 1].
        grown: Steps that a growing automaton takes alone before a run on ``grown``.

    Raises:
        UserError: if a number is out of its range.
    """

    random = True
    kept: Pool
    start: Start

    def __init__(
        self,
        *,
        steps: Steps,
        evaluation: int | None,
        pool: int,
        fresh: float,
        mutated: float,
        damaged: float,
        grown: int,
    ) -> None:
        super().__init__()
        self.steps = steps if isinstance(steps, int | None) else list(steps)
        self.evaluation, self.pool = evaluation, pool
        self.fresh, self.mutated, self.damaged, self.grown = fresh, mutated, damaged, grown
        self._check()
        self._visit: tuple[Visit, Tensor] | None = None
        self._came: tuple[Tensor, ...] | None = None

    def _check(self) -> None:
        steps = self.steps
        pair = isinstance(steps, list)
        if pair and not (len(steps) == 2 and 1 <= steps[0] < steps[1]):
            raise UserError(
                f"argument 'steps' is {steps}; give a number or [low, high], low < high"
            )
        for name in ("steps", "evaluation", "grown"):
            value = getattr(self, name)
            if isinstance(value, int) and value < 1:
                raise UserError(f"argument {name!r} is {value}; give 1 or more")
        if self.pool < 0:
            raise UserError(f"argument 'pool' is {self.pool}; give 0 or more states")
        for name in ("fresh", "mutated", "damaged"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise UserError(f"argument {name!r} is {value}; give a share in [0, 1]")

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn where runs start, and make the pool.

        Raises:
            UserError: if the source is no automaton, or the task does not fit it.
        """
        self.start = start_of(self, source, task, self.grown)
        self.kept = Pool(self.pool, self.start.shape, self.start.key)

    def intervention(self) -> Intervene:
        """What is done at every step, under the parameters as they are now."""
        raise NotImplementedError

    def mask(self, state: Float[Tensor, "batch c h w"]) -> Bool[Tensor, "batch 1 h w"]:
        """Which cells are the program's own in runs from these new states: by default none."""
        return torch.zeros_like(state[:, :1], dtype=torch.bool)

    def forward(self, prepared: Float[Tensor, "batch ..."]) -> Cells:
        """Samples -> the states in which their runs start, and what is done on the way."""
        state = self.start.state(prepared)
        mask = self.mask(state)
        if not self.training:
            return Cells(state, mask, self.evaluation, self.intervention())
        if self.pool:
            state, mask = self._going_on(prepared, state, mask)
        return Cells(state, mask, self._drawn_steps(), self.intervention())

    def observe(self, prepared: Tensor, output: Tensor) -> None:
        """The states that came out; they wait for the step's end, before which none may change."""
        if self._visit is not None:
            visit, mask = self._visit
            self._came = (visit.slots, prepared, output, mask)

    def advance(self, step: int, steps: int) -> None:
        """Lay them down in the pool."""
        del step, steps
        if self._came is not None:
            self.kept.put(*self._came)
        self._visit = self._came = None

    def memory(self) -> dict[str, Tensor]:
        """The pool."""
        return {f"kept.{name}": buffer for name, buffer in self.kept.named_buffers()}

    def _going_on(self, x: Tensor, new: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """States and masks, those of the pool where a run goes on."""
        visit = self.kept.visit(x, fresh=self.fresh, mutated=self.mutated)
        kept = self.kept.states[visit.slots]
        kept = torch.where(_wide(visit.carried), self.start.carried(kept, new), kept)
        holes = circles(len(new), *new.shape[2:]) & _wide(torch.rand(len(new)) < self.damaged)
        kept = self.start.held(kept.masked_fill(holes.to(new.device), 0), kept)
        mask = torch.where(_wide(visit.going), self.kept.masks[visit.slots], mask)
        self._visit = visit, mask
        return torch.where(_wide(visit.going), kept, new), mask

    def _drawn_steps(self) -> int | None:
        if isinstance(self.steps, list):
            return int(torch.randint(self.steps[0], self.steps[1], ()))
        return self.steps

    def extra_repr(self) -> str:
        return f"steps={self.steps}, pool={self.pool}"


def _wide(flags: Bool[Tensor, " batch"]) -> Bool[Tensor, "batch 1 1 1"]:
    return flags[:, None, None, None]
