"""What every cell of an automaton says."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from reprogram.mappings.base import Mapping
from reprogram.types import SourceLike, TaskSpec, UserError


class CellScores(Mapping):
    """The last channels of a state, one for each class, cell by cell.

    They are log-scores that nobody has normalised, as the automaton holds them, so that a squared
    error may go by them, too; those of a cell that never lived are all equal. Nothing is trained.

    Example:
        >>> import torch
        >>> mapping = CellScores()
        >>> mapping.classes = 3  # bind takes it from the task
        >>> mapping(torch.zeros(2, 20, 28, 28)).shape
        torch.Size([2, 28, 28, 3])
    """

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the number of classes.

        Raises:
            UserError: if the task does not ask for cells, or the source gives no state or one of
                fewer channels.
        """
        if task.target != "cells":
            other = "Pixels" if task.target == "image" else "Linear"
            raise UserError(f"CellScores predicts a class of each cell; {task.name} asks for "
                            f"{task.target}: use {other}")  # fmt: skip
        if source.output.kind != "state":
            raise UserError(f"CellScores reads a state; source {source.uri or 'given'} returns "
                            f"{source.output.kind!r}: take an automaton")  # fmt: skip
        self.classes = len(task.classes)
        if source.output.shape[0] < self.classes:
            raise UserError(f"{task.name} has {self.classes} classes, and a state of source "
                            f"{source.uri or 'given'} {source.output.shape[0]} channels; "
                            "take an automaton with more")  # fmt: skip

    def forward(
        self, output: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch height width classes"]:
        """Scores of the classes in each cell."""
        return output[:, -self.classes :].permute(0, 2, 3, 1)
