"""Source classes chosen by what their names mean."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reprogram.mappings.base import Mapping, OnePass, check_groups, count_classes
from reprogram.mappings.counts import Average, assign, read_groups, table_of
from reprogram.names import embed_names
from reprogram.types import SourceLike, TaskSpec, UserError


class Semantic(Mapping):
    """The source classes whose names are nearest to each target class's name.

    In each of ``size`` rounds every target class takes one source class, the most similar pair
    first, none shared. It needs no data and no query; the pairs are found before the first step
    and saved, so a saved program needs no encoder.

    References:
        | AutoVP (Tsao, Hsiung, Chen, Liu, Ho, 2024), SemanticMap. https://arxiv.org/abs/2310.08381

    Arguments:
        encoder: What turns names into vectors (:func:`reprogram.names.embed_names`): ``"letters"``
            or ``"hf:ORG/MODEL"``; the paper takes the text encoder of CLIP ViT-B/32.
        size: Source classes for each target class, >= 1.
        average: Mean of the group's ``"logits"`` (the paper) or ``"probabilities"``.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> spec = OutputSpec("classes", (3,), ("sports car", "tiger cat", "space shuttle"))
        >>> mapping = Semantic()
        >>> mapping.bind(CallableSource(len, InputSpec("table", (2,)), spec),
        ...              TaskSpec("toy", InputSpec("table", (2,)), ("cats", "cars")))
        >>> mapping.begin_epoch(0, list)
        >>> mapping.index[:, 0]
        tensor([1, 0])
    """

    index: Int[Tensor, "targets size"]

    def __init__(
        self, *, encoder: str = "letters", size: int = 1, average: Average = "logits"
    ) -> None:
        super().__init__()
        if average not in ("probabilities", "logits"):
            raise UserError(f"argument 'average' is {average!r}; give 'probabilities' or 'logits'")
        self.encoder, self.size = encoder, size
        self.average: Average = average

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Take the names.

        Raises:
            UserError: if the groups do not fit into the source's classes, or these have no names.
        """
        self.classes, targets = count_classes(self, source, task)
        check_groups(targets, self.size, self.classes)
        if len(source.output.names) != self.classes:
            raise UserError(
                f"Semantic compares names of classes, and source {source.uri or 'given'} has "
                "none; use Frequency, or give its OutputSpec names"
            )
        self.names = source.output.names, task.classes
        first = torch.arange(targets * self.size).reshape(targets, self.size)
        self.register_buffer("index", first)

    def begin_epoch(self, epoch: int, one_pass: OnePass) -> None:
        """Compare the names, before the first epoch alone."""
        if epoch > 0:
            return
        ours, theirs = (embed_names(names, self.encoder) for names in self.names)
        closeness = 2 + ours @ theirs.T  # (classes, targets), positive: a taken class is 0
        rounds = []
        for _ in range(self.size):
            rounds.append(assign(closeness)[:, 0])
            closeness[rounds[-1]] = 0
        self.index = torch.stack(rounds, 1).to(self.index.device)

    def forward(self, output: Float[Tensor, "batch classes"]) -> Float[Tensor, "batch targets"]:
        """The assigned source classes' scores."""
        return read_groups(output, self.index, self.average)

    def table(self) -> Float[Tensor, "classes targets"]:
        """1 / size where a source class is assigned."""
        return table_of(self.index, self.classes)

    def extra_repr(self) -> str:
        return f"encoder={self.encoder!r}, size={self.size}, average={self.average!r}"
