"""What every input transformation promises, and how several make one."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from reprogram.types import InputSpec, SourceLike, TaskSpec, Tokens, UserError, mapped


class Transformation(nn.Module):
    """Target batch -> source input, inside the source's bounds.

    A subclass keeps its constructor's arguments as attributes of the same names (a saved program
    writes them down), creates what depends on shapes in :meth:`bind`, and puts the work that no
    parameter of the program takes part in into :meth:`prepare`.

    Parameters and persistent buffers are the program and are saved; a table that :meth:`bind`
    makes anew belongs into a buffer with ``persistent=False``. What :meth:`observe` gathers does,
    too, and :meth:`memory` names it: only a checkpoint holds it.

    Attributes:
        random: Whether :meth:`forward` draws anew at each step of training: such a part is never
            run once for all, though it has no parameters.
    """

    random: bool = False

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the shapes, create the parameters; called at fit and again at load.

        Raises:
            UserError: if the task does not fit the source's door through this transformation.
        """
        del source, task

    def prepare(self, x: Any) -> Any:
        """The part without parameters of the program: computed once a sample and cached."""
        return x

    def sample(self, prepared: Tensor, n: int) -> tuple[Tensor | Tokens, Tensor]:
        """Draws of a discrete program, from torch's generators.

        Arguments:
            prepared: (batch, *prepared).
            n: Draws for each sample.

        Returns:
            Source inputs (n, batch, *source.input.shape) and the log-probabilities of having drawn
            them (n, batch), with a graph to the parameters.

        Raises:
            UserError: if the program is not discrete.
        """
        del prepared, n
        raise UserError(f"{type(self).__name__} is not discrete: it has nothing to draw; "
                        "use SPSA, RandomDirections, NES or CMAES")  # fmt: skip

    def observe(self, prepared: Any, output: Tensor) -> None:
        """Told what the source made of a training batch, once a step: a pool of states keeps it."""
        del prepared, output

    def memory(self) -> dict[str, Tensor]:
        """Buffers that :meth:`observe` fills, by name."""
        return {}

    def advance(self, step: int, steps: int) -> None:
        """Called after each step: annealing, projection."""
        del step, steps

    def picture(self) -> Tensor | None:
        """What was trained as an image (channels, height, width), in the source's natural units."""
        return None

    def tally(self, x: Tensor) -> dict[str, int]:
        """What a reader should know of how a target batch was read, as totals: ``tokens``,
        ``unknown`` ones, samples that were ``cut``. Nothing where nothing can be lost."""
        del x
        return {}

    def folded(self) -> Transformation:
        """The same transformation, frozen to what its parameters have come to."""
        return self

    def after(self, task: TaskSpec) -> TaskSpec:
        """The task as the next transformation of a :class:`Compose` sees it."""
        raise UserError(f"{type(self).__name__} writes the source's input: it must come last")


class Compose(Transformation):
    """Several transformations, one after the other; the last writes the source's input.

    Arguments:
        parts: In the order in which a sample meets them.

    Example:
        >>> from reprogram.transformations import Frame, Resize
        >>> Compose([Resize(16), Frame()])
        Compose(
          (parts): ModuleList(
            (0): Resize(16)
            (1): Frame()
          )
        )
    """

    def __init__(self, parts: Sequence[Transformation]) -> None:
        super().__init__()
        if not parts:
            raise UserError("argument 'parts' of Compose is empty; give at least one part")
        self.parts: Sequence[Transformation] = nn.ModuleList(parts)  # pyright: ignore
        self.random = any(part.random for part in parts)

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Bind each part to the task as the parts before it leave it."""
        for i, part in enumerate(self.parts):
            part.bind(source, task)
            if i + 1 < len(self.parts):
                task = part.after(task)
        # Parts before the first that trains or draws need to run only once a sample.
        moves = [part.random or any(True for _ in part.parameters()) for part in self.parts]
        self._once = moves.index(True) if True in moves else len(moves) - 1

    def prepare(self, x: Tensor) -> Tensor:
        """Run the leading parts that neither train nor draw, and the next part's own."""
        for part in self.parts[: self._once]:
            x = part(part.prepare(x))
        return self.parts[self._once].prepare(x)

    def forward(self, prepared: Tensor) -> Tensor | Tokens:
        """(batch, *prepared) -> (batch, *source.input.shape)."""
        met = self._before_last(prepared)
        self._met = mapped(met, Tensor.detach)  # its graph would outlive the step
        return self.parts[-1](met)

    def sample(self, prepared: Tensor, n: int) -> tuple[Tensor | Tokens, Tensor]:
        """The last part's draws, of what the parts before it make."""
        met = self._before_last(prepared)
        self._met = mapped(met, Tensor.detach)
        return self.parts[-1].sample(met, n)

    def _before_last(self, x: Any) -> Any:
        """What the last part has prepared."""
        for i in range(self._once, len(self.parts) - 1):
            x = self.parts[i + 1].prepare(self.parts[i](x))
        return x

    def after(self, task: TaskSpec) -> TaskSpec:
        """The task as the last part leaves it."""
        for part in self.parts:
            task = part.after(task)
        return task

    def tally(self, x: Tensor) -> dict[str, int]:
        """The first part's, which alone meets the target batch."""
        return self.parts[0].tally(x)

    def folded(self) -> Transformation:
        """Every part folded; bound already."""
        same = Compose([part.folded() for part in self.parts])
        same._once = self._once
        return same.train(self.training)

    def observe(self, prepared: Any, output: Tensor) -> None:
        """Tell the last part, whose input the source was given."""
        del prepared
        self.parts[-1].observe(self._met, output)

    def memory(self) -> dict[str, Tensor]:
        """The last part's."""
        return self.parts[-1].memory()

    def picture(self) -> Tensor | None:
        """The last part's."""
        return self.parts[-1].picture()

    def advance(self, step: int, steps: int) -> None:
        """Advance every part."""
        for part in self.parts:
            part.advance(step, steps)


def require_kinds(
    part: nn.Module, source: SourceLike, door: str, task: TaskSpec, kind: str
) -> None:
    """Check that ``part`` stands between a task of that kind and a door of that kind.

    Raises:
        UserError: naming both kinds.
    """
    name = type(part).__name__
    if task.input.kind != kind:
        raise UserError(f"{name} takes a task of kind {kind!r}; {task.name} is {task.input.kind!r}")
    if source.input.kind != door:
        raise UserError(
            f"{name} writes {door!r}; source {source.uri or 'given'} takes {source.input.kind!r} "
            "at this door"
        )


def seeded_uniform(shape: Sequence[int], bound: float, seed: int) -> Tensor:
    """U(-bound, bound) from a generator of its own."""
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(tuple(shape), generator=generator) - 1) * bound


def replace_input(task: TaskSpec, **changes: object) -> TaskSpec:
    """The task with some fields of its input changed."""
    spec: InputSpec = dataclasses.replace(task.input, **changes)  # pyright: ignore
    return dataclasses.replace(task, input=spec)


def glorot(fan_in: int, fan_out: int) -> float:
    """Bound of Glorot and Bengio's uniform initialisation (2010)."""
    return math.sqrt(6 / (fan_in + fan_out))
