"""Label mappings found by counting what the source says of each target class."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reprogram.mappings.base import Mapping, OnePass, check_groups, count_classes
from reprogram.mappings.counts import Average, assign, count, read_groups, table_of
from reprogram.types import SourceLike, TaskSpec, UserError


class Frequency(Mapping):
    """The source classes that answer most often for each target class, found once.

    Before the first step, one pass over the training split counts ``N[s, t]``, how often target
    class ``t`` is predicted as source class ``s`` under the untrained program; the pairs are then
    assigned greedily, none shared.

    References:
        | Transfer Learning without Knowing (Tsai, Chen, Ho, 2020), several source classes each.
          https://arxiv.org/abs/2007.08714
        | Understanding and Improving Visual Prompting (Chen, Yao, Chen, Zhang, Liu, 2023).
          https://arxiv.org/abs/2211.11635

    Arguments:
        size: Source classes for each target class, >= 1.
        average: Mean of the group's ``"logits"`` (AutoVP) or ``"probabilities"`` (Tsai 2020).

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(len, InputSpec("table", (2,)), OutputSpec("classes", (5,)))
        >>> mapping = Frequency()
        >>> mapping.bind(source, TaskSpec("toy", InputSpec("table", (2,)), ("a", "b")))
        >>> output, target = torch.eye(5)[[3, 3, 2]], torch.tensor([0, 0, 1])
        >>> mapping.begin_epoch(0, lambda: [(output, target, torch.ones(3))])
        >>> mapping.index[:, 0]
        tensor([3, 2])
    """

    index: Int[Tensor, "targets size"]
    counts: Float[Tensor, "classes targets"]

    def __init__(self, *, size: int = 1, average: Average = "probabilities") -> None:
        super().__init__()
        if average not in ("probabilities", "logits"):
            raise UserError(f"argument 'average' is {average!r}; give 'probabilities' or 'logits'")
        self.size = size
        self.average: Average = average

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Lay the counts out; until they are met, the first source classes answer.

        Raises:
            UserError: if the groups do not fit into the source's classes.
        """
        classes, targets = count_classes(self, source, task)
        check_groups(targets, self.size, classes)
        first = torch.arange(targets * self.size).reshape(targets, self.size)
        self.register_buffer("index", first)
        self.register_buffer("counts", torch.zeros(classes, targets), persistent=False)

    def passes(self, epochs: int) -> int:
        """One, for the first map."""
        return min(epochs, 1)

    def begin_epoch(self, epoch: int, one_pass: OnePass) -> None:
        """Count and assign, before the first epoch alone."""
        if epoch == 0:
            self.recount(one_pass)
            self.refit()

    def recount(self, one_pass: OnePass) -> None:
        """Count a pass of its own in place of what was observed."""
        self.counts.zero_()
        for output, target, weight in one_pass():
            count(self.counts, output.argmax(1), target, weight)

    def refit(self) -> None:
        """Assign by the counts, and forget them."""
        self.index = assign(self.counts, self.size)
        self.counts.zero_()

    def forward(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch targets"]:
        """The assigned source classes' scores."""
        return read_groups(output, self.index, self.average)

    def table(self) -> Float[Tensor, "classes targets"]:
        """1 / size where a source class is assigned."""
        return table_of(self.index, len(self.counts))

    def extra_repr(self) -> str:
        return f"size={self.size}, average={self.average!r}"


class Iterative(Frequency):
    """The frequency map found anew at the start of every epoch, under the program as it is then.

    The counts come from the training steps' own outputs, so an epoch costs one pass over the data
    and not two; the first map comes from one initial pass.

    References:
        | Understanding and Improving Visual Prompting: A Label-Mapping Perspective
          (Chen, Yao, Chen, Zhang, Liu, 2023). https://arxiv.org/abs/2211.11635

    Arguments:
        size: Source classes for each target class, >= 1.
        average: Mean of the group's ``"logits"`` or ``"probabilities"``.
        fresh_pass: Count in a pass of its own before each epoch, as the paper does.

    Example:
        >>> Iterative(size=2)
        Iterative(size=2, average='probabilities', fresh_pass=False)
    """

    def __init__(
        self, *, size: int = 1, average: Average = "probabilities", fresh_pass: bool = False
    ) -> None:
        super().__init__(size=size, average=average)
        self.fresh_pass = fresh_pass

    def observe(
        self,
        output: Float[Tensor, "batch classes"],
        target: Int[Tensor, " batch"],
        weight: Float[Tensor, " batch"],
    ) -> None:
        """Count a training batch."""
        count(self.counts, output.argmax(1), target, weight)

    def passes(self, epochs: int) -> int:
        """One for the first map, or one before each epoch."""
        return epochs if self.fresh_pass else min(epochs, 1)

    def begin_epoch(self, epoch: int, one_pass: OnePass) -> None:
        """Assign by what the last epoch's steps showed, or by a fresh pass."""
        if epoch == 0 or self.fresh_pass:
            self.recount(one_pass)
        self.refit()

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, fresh_pass={self.fresh_pass}"
