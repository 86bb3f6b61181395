"""Orthogonal matching pursuit of many vectors at once, over a dictionary that stays."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

TINY = 1e-6  # of a squared length: below it a direction is none in float32


@torch.no_grad()
def pursue(
    x: Float[Tensor, "n width"],
    atoms: Float[Tensor, "atoms width"],
    k: int,
    first: Int[Tensor, "n kept"] | None = None,
) -> Int[Tensor, "n k"]:
    """The ``k`` atoms of each vector, all different: each the one most parallel, either way, to
    what those before it leave of the vector.

    Every vector's next atom comes from one product of the residuals and the dictionary.

    References:
        | Orthogonal matching pursuit: recursive function approximation with applications to wavelet
          decomposition (Pati, Rezaiifar, Krishnaprasad, 1993).

    Arguments:
        x: Vectors.
        atoms: The dictionary; a row of zeros is never chosen before any other.
        k: Atoms of each vector, 1 to their number.
        first: Atoms to begin with, fewer than ``k`` (a warm start).

    Example:
        >>> pursue(torch.tensor([[0.1, 0.0, -2.0]]), torch.eye(3), 2)
        tensor([[2, 0]])
    """
    scale = 1 / atoms.norm(dim=1).clamp_min(TINY**0.5)  # (atoms,)
    index = x.new_zeros((len(x), 0), dtype=torch.long) if first is None else first
    basis = x.new_zeros((len(x), 0, x.shape[1]))  # orthonormal, of the atoms chosen
    for place in range(k):
        residual = x - _within(x, basis)
        if place >= index.shape[1]:
            fit = (residual @ atoms.T).abs_().mul_(scale)  # (n, atoms)
            best = fit.scatter_(1, index, -1.0).argmax(1, keepdim=True)
            index = torch.cat([index, best], 1)
        direction = atoms[index[:, place]]
        length = direction.norm(dim=1, keepdim=True)
        for _ in range(2):  # once is not orthogonal in float32
            direction = direction - _within(direction, basis)
        left = direction.norm(dim=1, keepdim=True)
        direction = (direction / left).where(left > TINY**0.5 * length, 0.0)
        basis = torch.cat([basis, direction[:, None]], 1)
    return index


def weigh(x: Float[Tensor, "n width"], chosen: Float[Tensor, "n k width"]) -> Float[Tensor, "n k"]:
    """Least squares: the weights of each vector's atoms, by Cholesky's factors of their products.

    Example:
        >>> weigh(torch.tensor([[3.0, 4.0]]), torch.tensor([[[1.0, 0.0], [0.0, 2.0]]])).round()
        tensor([[3., 2.]])
    """
    length = chosen.norm(dim=2, keepdim=True).clamp_min(TINY**0.5)  # (n, k, 1)
    unit = chosen / length
    gram = unit @ unit.mT  # (n, k, k)
    eye = torch.eye(gram.shape[1], device=x.device, dtype=x.dtype)
    factor = torch.linalg.cholesky(gram + TINY * eye)
    return (torch.cholesky_solve(unit @ x[..., None], factor) / length)[..., 0]


def _within(x: Tensor, basis: Tensor) -> Tensor:
    """The part of each vector (n, width) in the span of its orthonormal basis (n, k, width)."""
    return torch.einsum("nk,nkw->nw", torch.einsum("nw,nkw->nk", x, basis), basis)
