"""Rows that are combinations of a few embeddings of the source."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.transformations.image import check_choice
from reprogram.transformations.vocabulary.base import STARTS, Start, Vocabulary
from reprogram.transformations.vocabulary.combinations import check_count
from reprogram.transformations.vocabulary.pursuit import pursue, weigh


class SparseRows(Vocabulary):
    """Each row is a combination of at most ``atoms`` embeddings of the source, ``T = Theta E``.

    What is trained is a free table ``V``; ``T`` is its projection row by row,
    ``argmin |V_t - theta_t E|^2`` with ``atoms`` weights that are not zero, and the gradient of
    ``T`` is taken as that of ``V``. The dictionary ``E`` is the source's and stays, so that of a
    k-SVD only orthogonal matching pursuit is left. Weights follow ``V`` at each step, the choice of
    atoms every few steps.

    References:
        | Reprogramming Language Models for Molecular Representation Learning (Vinod, Chen, Das,
          2020). https://arxiv.org/abs/2012.03460

    Arguments:
        atoms: Of each row, 1 or more; as many as the source has tokens, if those are fewer.
        every: Steps from one choice of atoms to the next, 1 or more.
        renewed: Atoms of each row that such a choice may change, those of least weight, 1 or more;
            with ``atoms`` it is made from nothing. Each costs one product of rows and dictionary.
        start: Of the free table, as of :class:`~reprogram.transformations.FreeRows`: ``copies`` are
            single atoms, so that nothing is lost in the first projection.
        context: See :class:`Vocabulary`.
        seed: Of the free table at the start.

    Raises:
        UserError: for a number or a word outside these ranges.

    Example:
        >>> SparseRows(atoms=4)
        SparseRows(atoms=4, every=10, renewed=2, context=1, seed=0)
    """

    index: Tensor

    def __init__(
        self, *, atoms: int = 8, every: int = 10, renewed: int = 2,
        start: Start = "normal", context: int = 1, seed: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(context=context, seed=seed)
        check_count("atoms", atoms)
        check_count("every", every)
        check_choice("start", start, tuple(STARTS))
        check_count("renewed", renewed)
        self.atoms, self.every, self.renewed = atoms, every, renewed
        self.start: Start = start

    def create(self, generator: torch.Generator) -> None:
        """Draw the free table and choose its atoms."""
        context, tokens, width = self.shape
        self.most = min(self.atoms, len(self.dictionary))
        rows = STARTS[self.start](self.dictionary, context * tokens, generator)
        rows = rows.reshape(context, tokens, width)
        rows *= torch.arange(context)[:, None, None] == context // 2
        self.free = nn.Parameter(rows)
        index = pursue(rows.flatten(0, 1), self.dictionary.cpu(), self.most)
        self.register_buffer("index", index.reshape(context, tokens, self.most))

    def weights(self) -> Float[Tensor, "context tokens atoms"]:
        """theta: of the atoms ``index`` (context, tokens, atoms), by least squares."""
        chosen = self.dictionary[self.index].flatten(0, 1)
        return weigh(self.free.detach().flatten(0, 1), chosen).reshape(self.index.shape)

    def table(self) -> Float[Tensor, "context tokens width"]:
        """T = Theta E, with the gradient of V."""
        projected = torch.einsum("ctk,ctkw->ctw", self.weights(), self.dictionary[self.index])
        return _Passing.apply(self.free, projected)

    @torch.no_grad()
    def advance(self, step: int, steps: int) -> None:
        """Choose the atoms anew, every few steps and at the last."""
        if (step + 1) % self.every and step + 1 != steps:
            return
        parts = self.weights().abs() * self.dictionary.norm(dim=1)[self.index]
        heaviest = parts.argsort(-1, descending=True)[..., : max(self.most - self.renewed, 0)]
        kept = self.index.gather(-1, heaviest).flatten(0, 1)
        index = pursue(self.free.flatten(0, 1), self.dictionary, self.most, kept)
        self.index.copy_(index.reshape(self.index.shape))

    def extra_repr(self) -> str:
        told = f"atoms={self.atoms}, every={self.every}, renewed={self.renewed}"
        return f"{told}, {super().extra_repr()}"


class _Passing(torch.autograd.Function):
    """One tensor, whose gradient goes to another unchanged (straight through)."""

    @staticmethod
    def forward(ctx: Any, free: Tensor, projected: Tensor) -> Tensor:
        return projected

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0], None
