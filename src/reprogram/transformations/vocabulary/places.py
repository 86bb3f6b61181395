"""A pattern in embeddings: what is added at each place, whatever stands there."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn

from reprogram.transformations.base import Transformation, require_kinds
from reprogram.types import SourceLike, TaskSpec, Tokens, UserError


class Places(Transformation):
    """A trained embedding added at each place of a text, ``e_i + p_i``, beginning at zero.

    What stands where often decides in a sequence of one length, and a frozen language model reads
    places faintly. It comes behind a vocabulary layer; start and end have a place, too.

    Raises:
        UserError: at :meth:`bind`, if what comes before it does not write embeddings.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec
        >>> spec = InputSpec("embeddings", (9, 4))
        >>> source = CallableSource(len, spec, OutputSpec("embedding", (4,)))
        >>> part = Places()
        >>> part.bind(source, TaskSpec("toy", spec, ("a", "b")))
        >>> part(Tokens(torch.ones(2, 5, 4), torch.ones(2, 5))).values.shape
        torch.Size([2, 5, 4])
    """

    pattern: Float[torch.Tensor, "places width"]

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the pattern, as long as the longest text."""
        require_kinds(self, source, "embeddings", task, "embeddings")
        self.pattern = nn.Parameter(torch.zeros(task.input.shape))

    def forward(self, prepared: Tokens) -> Tokens:
        """Embeddings (batch, length, width) -> the same, moved."""
        length = prepared.values.shape[1]
        if length > len(self.pattern):
            raise UserError(f"a text of {length} places is longer than the {len(self.pattern)} "
                            "that the program was fitted to; cut it")  # fmt: skip
        return prepared._replace(values=prepared.values + self.pattern[:length])
