"""What every output mapping promises."""

from __future__ import annotations

from torch import Tensor, nn

from reprogram.types import SourceLike, TaskSpec, UserError


class Mapping(nn.Module):
    """Source output -> target prediction, as log-scores (batch, target_classes).

    A subclass keeps its constructor's arguments as attributes of the same names. What it draws or
    gathers in :meth:`bind` and :meth:`observe` lives in persistent buffers, which a saved program
    holds; what it trains are parameters.
    """

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the shapes, draw what is random; called at fit and again at load."""
        del source, task

    def observe(self, output: Tensor, target: Tensor, weight: Tensor) -> None:
        """Gather statistics of a training batch: (batch, classes), (batch,), (batch,)."""
        del output, target, weight

    def advance(self, step: int, steps: int) -> None:
        """Called after each step: annealing, a refit of the map."""
        del step, steps


def count_classes(part: Mapping, source: SourceLike, task: TaskSpec) -> tuple[int, int]:
    """Numbers of source and target classes.

    Raises:
        UserError: if the source does not return classes.
    """
    if source.output.kind != "classes":
        raise UserError(
            f"{type(part).__name__} reads class scores; source {source.uri or 'given'} returns "
            f"{source.output.kind!r}"
        )
    return source.output.shape[0], len(task.classes)
