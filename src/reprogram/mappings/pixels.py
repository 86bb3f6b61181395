"""A source's image as the task's."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from reprogram.mappings.base import Mapping
from reprogram.types import SourceLike, TaskSpec, UserError


class Pixels(Mapping):
    """The image that a source makes, or the first channels of a state. Nothing is trained.

    Arguments:
        channels: That are taken; ``None`` for as many as the task's images have.

    Raises:
        UserError: if ``channels`` is below 1, or (in ``bind``) the source's image is not of the
            task's shape. A state's grid is the one that entered.

    Example:
        >>> import torch
        >>> mapping = Pixels(channels=4)
        >>> mapping.taken = 4  # bind agrees it with the task
        >>> mapping(torch.zeros(2, 16, 72, 72)).shape
        torch.Size([2, 4, 72, 72])
    """

    def __init__(self, channels: int | None = None) -> None:
        super().__init__()
        if channels is not None and channels < 1:
            raise UserError(f"argument 'channels' is {channels}; give 1 or more")
        self.channels = channels

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Check that the source's image is the task's."""
        kind, shape = source.output.kind, source.output.shape
        if task.target != "image":
            raise UserError(f"Pixels predicts an image; {task.name} asks for {task.target}")
        if kind not in ("image", "state"):
            raise UserError(f"Pixels reads an image or a state; source {source.uri or 'given'} "
                            f"returns {kind!r}: take a generator or an automaton")  # fmt: skip
        self.taken = self.channels or task.shape[0]
        grid = task.shape[1:] if kind == "state" else shape[1:]
        if self.taken > shape[0] or (self.taken, *grid) != task.shape:
            raise UserError(
                f"{task.name} asks for images of shape {task.shape}; source "
                f"{source.uri or 'given'} returns {kind} {shape}, of which {self.taken} channels "
                "are taken: take another source, or a task of that shape"
            )

    def forward(
        self, output: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch taken height width"]:
        """The first channels."""
        return output[:, : self.taken]

    def extra_repr(self) -> str:
        return "" if self.channels is None else f"channels={self.channels}"
