"""Source classes dealt out in the order in which an empty image is taken for them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from reprogram.canvas import ground, written
from reprogram.mappings.base import Mapping, answers, check_groups, count_groups
from reprogram.mappings.counts import table_of
from reprogram.types import SourceLike, TaskSpec, UserError


class Ranked(Mapping):
    """A group of source classes for each target class, dealt round by round, the unlikeliest first.

    Source classes are put in the order of their scores for one image without content, ascending;
    with T target classes, class c gets the ones at c, c + T, c + 2 T and so on (for each label two
    groups, for no and for yes). Its score is the largest of the group's, or their mean. Finding
    the order is one query, at fit and again at load; what was found at fit is saved and holds.

    References:
        | Cross-modal Adversarial Reprogramming (Neekhara, Hussain, Du, Dubnov, Koushanfar,
          McAuley, 2022, WACV), in its code: ten labels a class, the largest.
          https://arxiv.org/abs/2102.07325

    Arguments:
        size: Source classes in a group, >= 1; fewer where the source has not so many.
        read: ``"max"`` or ``"mean"`` of the group's scores.
        base: The image: ``"uniform"`` for a seeded draw within the source's bounds, ``"grey"``, or
            an image file; the paper takes the one its patches are laid on.
        seed: Of the draw.

    Raises:
        UserError: for another ``read``, a ``size`` below 1, or a file that is no image.

    Example:
        >>> import reprogram
        >>> from reprogram.types import InputSpec, TaskSpec
        >>> mapping = Ranked(size=2, read="mean")
        >>> task = TaskSpec("toy", InputSpec("image", (3, 8, 8), 0, 1), ("a", "b"))
        >>> mapping.bind(reprogram.load_source("zoo:images"), task)
        >>> mapping.index.shape
        torch.Size([2, 2])
    """

    index: Tensor

    def __init__(
        self,
        *,
        size: int = 10,
        read: Literal["max", "mean"] = "max",
        base: str = "uniform",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if read not in ("max", "mean"):
            raise UserError(f"argument 'read' is {read!r}; give 'max' or 'mean'")
        if size < 1:
            raise UserError(f"argument 'size' is {size}; give 1 or more source classes")
        self.size, self.seed = size, seed
        self.read: Literal["max", "mean"] = read
        self.base = written(base)

    @torch.no_grad()
    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Ask the source once, and deal.

        Raises:
            UserError: if the source has fewer classes than the task, takes no images, or can only
                be called: the question would be on no account.
        """
        classes, targets = count_groups(self, source, task)
        self.classes, self.task = classes, task
        size = min(self.size, classes // targets)
        check_groups(targets, size, classes)
        image = ground(source.input, self.base, self.seed)
        if not getattr(source, "gradient", True):
            raise UserError(f"Ranked asks the source when it is bound and loaded, and "
                            f"{source.uri or 'the one given'} is paid by the query; use Frequency, "
                            "ManyToOne or Linear")  # fmt: skip
        order = _scores(source, image).argsort(stable=True)  # ascending
        self.register_buffer("index", order[: size * targets].reshape(size, targets).T.contiguous())

    def forward(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch targets"]:
        """The largest score of each group, or the mean."""
        groups = output[:, self.index]  # (batch, groups, size)
        return answers(groups.amax(-1) if self.read == "max" else groups.mean(-1), self.task)

    def table(self) -> Float[Tensor, "classes targets"]:
        """1 / size where a source class belongs to the group."""
        return table_of(self.index, self.classes)

    def extra_repr(self) -> str:
        base = self.base if len(self.base) < 20 else "a picture"
        return f"size={self.size}, read={self.read!r}, base={base!r}"


def _scores(source: Any, image: Tensor) -> Tensor:
    """(classes,) of one image, wherever the source computes."""
    device = next((p.device for p in source.parameters()), image.device)
    return source(image[None].to(device))[0].cpu()
