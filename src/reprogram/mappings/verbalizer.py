"""One trained row for each target class, where a masked language model would have its words'."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.mappings.base import Mapping, count_numbers
from reprogram.types import SourceLike, TaskSpec, UserError


class Verbalizer(Mapping):
    """``V h + b``: the last layer of a masked language model, with classes in place of words.

    ``h`` is what the source computes at the mask just before its words' scores (its exit
    ``hidden``); of a sentence encoder it is the sentence's embedding.

    References:
        | WARP: Word-level Adversarial ReProgramming (Hambardzumyan, Khachatrian, May, 2021).
          https://arxiv.org/abs/2101.00121

    Arguments:
        words: One for each class, in the classes' order, written as they stand inside a text (some
            sources tell ``" yes"`` from ``"yes"``): a class starts as its word's row and bias, or
            the mean of them where a word is several tokens. ``None`` for a small draw.
        scale: Standard deviation of that draw.
        seed: Of that draw.

    Raises:
        UserError: for a ``scale`` that is not positive.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("embeddings", (12, 4)), OutputSpec("embedding", (4,)))
        >>> mapping = Verbalizer()
        >>> mapping.bind(source, TaskSpec("toy", InputSpec("text", (9,)), ("bad", "good")))
        >>> mapping(torch.zeros(3, 4)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self, *, words: Sequence[str] | None = None, scale: float = 0.02, seed: int = 0
    ) -> None:
        super().__init__()
        if not 0 < scale < float("inf"):
            raise UserError(f"argument 'scale' is {scale}; give a positive number")
        self.words = None if words is None else list(words)
        self.scale, self.seed = scale, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Make a row for each class.

        Raises:
            UserError: if the source returns no embedding, or words are given that are not as many
                as the classes, that it does not know, or of which it has no rows.
        """
        if source.output.kind != "embedding":
            raise UserError(f"Verbalizer reads hidden states; source {source.uri or 'given'} "
                            f"returns {source.output.kind!r}: leave it at 'hidden'")  # fmt: skip
        width, targets = count_numbers(self, source, task)
        if self.words is None:
            generator = torch.Generator().manual_seed(self.seed)
            weight = self.scale * torch.randn(targets, width, generator=generator)
            bias = torch.zeros(targets)
        else:
            weight, bias = rows_of(self.words, source, targets)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, output: Float[Tensor, "batch width"]) -> Float[Tensor, "batch targets"]:
        """Scores of the classes."""
        return F.linear(output.to(self.weight.dtype), self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"words={self.words!r}" if self.words else f"scale={self.scale}"


def rows_of(words: Sequence[str], source: SourceLike, targets: int) -> tuple[Tensor, Tensor]:
    """The source's rows (words, width) and biases (words,) of these words.

    Raises:
        UserError: if they are not as many as the classes, one is unknown, or there are no rows.
    """
    if len(words) != targets:
        raise UserError(f"argument 'words' has {len(words)} words for {targets} classes; give one "
                        "for each")  # fmt: skip
    lexicon = source.lexicon
    if lexicon is None or lexicon.tokenizer is None or lexicon.weight is None:
        raise UserError(f"source {source.uri or 'given'} has no rows for words: take a masked "
                        "language model, or leave 'words' out")  # fmt: skip
    tokenizer = lexicon.tokenizer
    weights, biases = [], []
    for word, ids in zip(words, tokenizer.encode(words), strict=True):
        if not ids or tokenizer.unknown in ids:
            raise UserError(f"argument 'words' has {word!r}, which the source does not know; give "
                            "another word")  # fmt: skip
        weights.append(lexicon.weight[ids].mean(0))
        bias = lexicon.weight.new_zeros(()) if lexicon.bias is None else lexicon.bias[ids].mean()
        biases.append(bias)
    return torch.stack(weights), torch.stack(biases)
