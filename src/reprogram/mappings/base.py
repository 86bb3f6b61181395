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
        UserError: if the source does not return classes, or the task does not ask for one.
    """
    _require_classes(part, source)
    if task.target != "classes":
        raise UserError(f"{type(part).__name__} maps to one class a sample; {task.name} asks for "
                        f"{task.target}: use Linear")  # fmt: skip
    return source.output.shape[0], len(task.classes)


def count_groups(part: Mapping, source: SourceLike, task: TaskSpec) -> tuple[int, int]:
    """Numbers of source classes, and of groups of them that the task wants: one for each class, or
    one for no and one for yes to each label (see :func:`answers`).

    Raises:
        UserError: if the source does not return classes, or the task asks for tokens.
    """
    _require_classes(part, source)
    return source.output.shape[0], count_targets(part, task) * (1 + (task.target == "labels"))


def answers(scores: Float[Tensor, "batch groups"], task: TaskSpec) -> Float[Tensor, "batch ..."]:
    """Log-scores of the groups of :func:`count_groups` as the task wants them.

    A label's answer is ``log p(yes) - log p(no)``, where no and yes stand beside each other.
    """
    return scores[:, 1::2] - scores[:, ::2] if task.target == "labels" else scores


def count_numbers(part: Mapping, source: SourceLike, task: TaskSpec) -> tuple[int, int]:
    """How many numbers the source tells of a sample, and how many the task wants.

    Raises:
        UserError: if the source tells more than a vector, or the task asks for tokens.
    """
    if len(source.output.shape) != 1:
        raise UserError(f"{type(part).__name__} reads one vector a sample; source "
                        f"{source.uri or 'given'} returns {source.output.kind!r} of shape "
                        f"{source.output.shape}")  # fmt: skip
    return source.output.shape[0], count_targets(part, task)


def count_targets(part: Mapping, task: TaskSpec) -> int:
    """Numbers that a sample's prediction holds.

    Raises:
        UserError: if the task asks for tokens.
    """
    if task.target == "tokens":
        raise UserError(f"{type(part).__name__} predicts one vector a sample; {task.name} asks for "
                        "tokens place by place: use TokenLinear")  # fmt: skip
    return len(task.classes)


def _require_classes(part: Mapping, source: SourceLike) -> None:
    if source.output.kind != "classes":
        raise UserError(f"{type(part).__name__} reads class scores; source {source.uri or 'given'} "
                        f"returns {source.output.kind!r}: use Linear")  # fmt: skip


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
