"""What every output mapping promises."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from jaxtyping import Float
from torch import Tensor, nn

from reprogram.types import SourceLike, TaskSpec, UserError

Observed = tuple[Tensor, Tensor, Tensor]  # (batch, classes), (batch,), (batch,)
OnePass = Callable[[], Iterable[Observed]]


class Mapping(nn.Module):
    """Source output -> target prediction, as log-scores (batch, target_classes).

    A subclass keeps its constructor's arguments as attributes of the same names. What it draws in
    :meth:`bind` or fits in :meth:`begin_epoch` lives in persistent buffers, which a saved program
    holds; what it trains are parameters; what :meth:`observe` gathers lives in buffers with
    ``persistent=False``, which only a checkpoint holds.
    """

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the shapes, draw what is random; called at fit and again at load."""
        del source, task

    def passes(self, epochs: int) -> int:
        """Passes over the training split that :meth:`begin_epoch` asks for in so many epochs."""
        del epochs
        return 0

    def begin_epoch(self, epoch: int, one_pass: OnePass) -> None:
        """Called by fit before the first step of each epoch: a refit of the map.

        Arguments:
            epoch: 0 for the first.
            one_pass: Yields (output, target, weight) of the whole training split under the program
                as it is now: one query a sample, asked only if called.
        """
        del epoch, one_pass

    def observe(self, output: Tensor, target: Tensor, weight: Tensor) -> None:
        """Gather statistics of a training batch: (batch, classes), (batch,), (batch,)."""
        del output, target, weight

    def advance(self, step: int, steps: int) -> None:
        """Called after each step: annealing."""
        del step, steps

    def table(self) -> Float[Tensor, "classes targets"] | None:
        """How much each source class says for each target class, where that can be told."""
        return None


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


def check_groups(targets: int, size: int, classes: int, what: str = "size") -> None:
    """Check that ``targets`` groups of ``size`` fit into the source's classes, none shared.

    Raises:
        UserError: with both numbers and what to do.
    """
    most = classes // targets
    if not 1 <= size <= most:
        raise UserError(
            f"{targets} target classes with {max(size, 1)} source "
            f"{'class' if size <= 1 else 'classes'} each do not fit {classes} source classes; "
            + (f"give {what} 1 to {most}" if most else "use a linear mapping or another source")
        )
