"""Rows that are combinations of the source's own embeddings: of all, of a few directions, of
prototypes that tokens attend to."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.transformations.vocabulary.base import Vocabulary
from reprogram.types import UserError


class DenseRows(Vocabulary):
    """Each row is a combination of all embeddings of the source, ``T_j = Theta_j E``.

    References:
        | Reprogramming Pretrained Language Models for Antibody Sequence Infilling (Melnyk,
          Chenthamarakshan, Chen, Das, Dhurandhar, Padhi, Das, 2023), its input map.
          https://arxiv.org/abs/2210.07144

    Arguments:
        context: See :class:`Vocabulary`.
        seed: Of the weights at the start, normal with variance 1 / atoms, so that rows are as large
            as the source's own embeddings.

    Example:
        >>> DenseRows()
        DenseRows(context=1, seed=0)
    """

    def create(self, generator: torch.Generator) -> None:
        """Draw the weights."""
        context, tokens, _ = self.shape
        atoms = len(self.dictionary)
        drawn = torch.randn(context, tokens, atoms, generator=generator)
        self.theta = nn.Parameter(drawn / math.sqrt(atoms))

    def table(self) -> Float[Tensor, "context tokens width"]:
        """T = Theta E."""
        return self.theta @ self.dictionary


class LowRankRows(Vocabulary):
    """Each row is a combination of a few directions, themselves combinations of all embeddings of
    the source: ``T_j = A_j (B E)``.

    Arguments:
        rank: Directions, 1 or more.
        context: See :class:`Vocabulary`.
        seed: Of the weights at the start, scaled as those of :class:`DenseRows`.

    Raises:
        UserError: for a rank below 1.

    Example:
        >>> LowRankRows(rank=8)
        LowRankRows(rank=8, context=1, seed=0)
    """

    def __init__(self, *, rank: int = 16, context: int = 1, seed: int = 0) -> None:
        super().__init__(context=context, seed=seed)
        check_count("rank", rank)
        self.rank = rank

    def create(self, generator: torch.Generator) -> None:
        """Draw the weights."""
        context, tokens, _ = self.shape
        atoms = len(self.dictionary)
        a = torch.randn(context, tokens, self.rank, generator=generator)
        b = torch.randn(self.rank, atoms, generator=generator)
        self.a = nn.Parameter(a / math.sqrt(self.rank))
        self.b = nn.Parameter(b / math.sqrt(atoms))

    def table(self) -> Float[Tensor, "context tokens width"]:
        """T = A (B E)."""
        return self.a @ (self.b @ self.dictionary)

    def extra_repr(self) -> str:
        return f"rank={self.rank}, {super().extra_repr()}"


class PrototypeRows(Vocabulary):
    """Tokens attend to prototypes, combinations of all embeddings of the source.

    ``P = W E``, and for each head ``h``: ``softmax(q_t K_h^T / sqrt(d)) V_h`` with ``K = P W_K``
    and ``V = P W_V``, joined over the heads and mapped to the source's width. A token's query is
    trained, and there is nothing else that depends on the text: the attention folds to a table.

    References:
        | Time-LLM: Time Series Forecasting by Reprogramming Large Language Models (Jin, Wang, Ma,
          Chu, Zhang, Shi, Chen, Liang, Li, Pan, Wen, 2024), section 3.1, with queries from patches
          of a series. https://arxiv.org/abs/2310.01728

    Arguments:
        prototypes: Of the source's vocabulary, 1 or more; the paper has 1,000.
        heads: Of the attention, 1 or more.
        size: Dimensions of a head, 1 or more.
        context: See :class:`Vocabulary`.
        seed: Of the weights at the start.

    Raises:
        UserError: for a number below 1.

    Example:
        >>> PrototypeRows(prototypes=64)
        PrototypeRows(prototypes=64, heads=4, size=32, context=1, seed=0)
    """

    def __init__(
        self, *, prototypes: int = 100, heads: int = 4, size: int = 32, context: int = 1,
        seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(context=context, seed=seed)
        for name, value in (("prototypes", prototypes), ("heads", heads), ("size", size)):
            check_count(name, value)
        self.prototypes, self.heads, self.size = prototypes, heads, size

    def create(self, generator: torch.Generator) -> None:
        """Draw the weights, each so that what it gives is as large as what it takes."""
        context, tokens, width = self.shape
        inner = self.heads * self.size

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator) / math.sqrt(shape[0]))

        self.query = nn.Parameter(torch.randn(context, tokens, inner, generator=generator))
        self.mixing = drawn(len(self.dictionary), self.prototypes)
        self.key, self.value = drawn(width, inner), drawn(width, inner)
        self.out = drawn(inner, width)

    def table(self) -> Float[Tensor, "context tokens width"]:
        """T: what each token's attention brings together."""
        prototypes = self.mixing.T @ self.dictionary  # (prototypes, width)
        query = self.query.unflatten(-1, (self.heads, self.size))
        key, value = (
            (prototypes @ weight).unflatten(-1, (self.heads, self.size))
            for weight in (self.key, self.value)
        )  # (prototypes, heads, size) each
        score = torch.einsum("cthd,phd->chtp", query, key) / math.sqrt(self.size)
        read = torch.einsum("chtp,phd->cthd", score.softmax(-1), value)
        return read.flatten(-2) @ self.out

    def extra_repr(self) -> str:
        told = f"prototypes={self.prototypes}, heads={self.heads}, size={self.size}"
        return f"{told}, {super().extra_repr()}"


def check_count(name: str, value: int) -> None:
    """Check a number of things.

    Raises:
        UserError: if it is below 1.
    """
    if value < 1:
        raise UserError(f"argument {name!r} is {value}; give 1 or more")
