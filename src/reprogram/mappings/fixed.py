"""Mappings that are drawn once and never trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from reprogram.mappings.base import Mapping, answers, check_groups, count_groups
from reprogram.mappings.counts import Average, read_groups, table_of
from reprogram.types import SourceLike, TaskSpec, UserError


class Fixed(Mapping):
    """One source class for each target class; for each label two, for no and for yes.

    References:
        | Adversarial Reprogramming of Neural Networks (Elsayed, Goodfellow, Sohl-Dickstein, 2019):
          the first labels. https://arxiv.org/abs/1806.11146

    Arguments:
        labels: ``"first"`` for source classes 0 to T-1, ``"random"`` for T different ones, or the T
            different indices themselves.
        seed: Of the random draw.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (5,)))
        >>> mapping = Fixed(labels=[4, 1])
        >>> mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("a", "b")))
        >>> mapping(torch.arange(5.0)[None])
        tensor([[4., 1.]])
    """

    index: Tensor

    def __init__(
        self, *, labels: Literal["first", "random"] | Sequence[int] = "first", seed: int = 0
    ) -> None:
        super().__init__()
        if isinstance(labels, str) and labels not in ("first", "random"):
            raise UserError(f"argument 'labels' is {labels!r}; give 'first', 'random' or indices")
        self.labels, self.seed = labels if isinstance(labels, str) else list(labels), seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Choose the source classes.

        Raises:
            UserError: if the source has too few classes or the given ones do not fit.
        """
        classes, targets = count_groups(self, source, task)
        self.classes, self.task = classes, task
        if targets > classes:
            raise UserError(
                f"{targets} target classes for {classes} source classes: one source class each is "
                "not possible; use a linear mapping or a source with more classes"
            )
        if self.labels == "first":
            index = torch.arange(targets)
        elif self.labels == "random":
            index = _permutation(classes, self.seed)[:targets]
        else:
            index = torch.tensor(self.labels)
            if len(index) != targets or len(index.unique()) != targets:
                raise UserError(
                    f"argument 'labels' names {len(index.unique())} different source classes; "
                    f"give {targets}, one for each target class"
                )
            if index.min() < 0 or index.max() >= classes:
                raise UserError(f"argument 'labels' leaves the range 0 to {classes - 1}")
        self.register_buffer("index", index)

    def forward(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch targets"]:
        """The chosen classes' scores."""
        return answers(output[:, self.index], self.task)

    def table(self) -> Float[Tensor, "classes targets"]:
        """1 where a source class stands for the target class."""
        return table_of(self.index[:, None], self.classes)

    def extra_repr(self) -> str:
        return f"labels={self.labels!r}"


class ManyToOne(Mapping):
    """A group of source classes for each target class, all of one size, none shared; for each
    label two groups, for no and for yes.

    ``P(t | x) = 1/|B_t| sum_{s in B_t} P(s | x)``. The result is its logarithm; cross-entropy then
    renormalises over the assigned source classes, as the published code does.

    References:
        | Voice2Series (Yang, Tsai, Chen, 2021), eq. 4. https://arxiv.org/abs/2106.09296
        | Transfer Learning without Knowing (Tsai, Chen, Ho, 2020). https://arxiv.org/abs/2007.08714

    Arguments:
        size: Source classes in a group; ``None`` for the most that fit, ``S // T``.
        average: Mean of ``"probabilities"`` (the papers) or of ``"logits"``.
        groups: ``"random"`` (the paper) or ``"ordered"`` (its code: the first ``size`` classes to
            the first target, and so on).
        seed: Of the random draw.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (4,)))
        >>> mapping = ManyToOne(groups="ordered")
        >>> mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("a", "b")))
        >>> mapping(torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log()).exp()
        tensor([[0.1500, 0.3500]])
    """

    index: Tensor

    def __init__(
        self,
        *,
        size: int | None = None,
        average: Average = "probabilities",
        groups: Literal["random", "ordered"] = "random",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if average not in ("probabilities", "logits"):
            raise UserError(f"argument 'average' is {average!r}; give 'probabilities' or 'logits'")
        if groups not in ("random", "ordered"):
            raise UserError(f"argument 'groups' is {groups!r}; give 'random' or 'ordered'")
        self.size, self.groups, self.seed = size, groups, seed
        self.average: Average = average

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Draw the groups.

        Raises:
            UserError: if they do not fit into the source's classes.
        """
        classes, targets = count_groups(self, source, task)
        self.classes, self.task = classes, task
        size = classes // targets if self.size is None else self.size
        check_groups(targets, size, classes)
        random = self.groups == "random"
        order = _permutation(classes, self.seed) if random else torch.arange(classes)
        self.register_buffer("index", order[: targets * size].reshape(targets, size))

    def forward(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch targets"]:
        """The groups' mean probability, as a logarithm, or their mean logit."""
        return answers(read_groups(output, self.index, self.average), self.task)  # eq. (4)

    def table(self) -> Float[Tensor, "classes targets"]:
        """1 / size where a source class belongs to the group."""
        return table_of(self.index, self.classes)

    def extra_repr(self) -> str:
        return f"size={self.size}, average={self.average!r}, groups={self.groups!r}"


def _permutation(n: int, seed: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))
