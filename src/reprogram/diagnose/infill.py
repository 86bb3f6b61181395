"""How well sequences are filled in: how much is recovered, and how various the proposals are."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reprogram.evaluation import Prepared
from reprogram.program import Program
from reprogram.tasks.base import Split
from reprogram.types import UserError


def recovery(
    scores: Float[Tensor, "n places tokens"],
    targets: Int[Tensor, "n places"],
    weights: Float[Tensor, "n places"],
) -> float:
    """Share of the places that were asked for where the likeliest token is the right one.

    The antibody literature calls it amino-acid recovery, and counts it sample by sample: the mean
    over the samples of the share in each.

    Arguments:
        scores: Of the tokens, at every place.
        targets: The right tokens.
        weights: Positive where a place was asked for.

    Raises:
        UserError: if no place was asked for.

    Example:
        >>> scores = torch.eye(3)[torch.tensor([[0, 1, 2]])]
        >>> recovery(scores, torch.tensor([[0, 1, 0]]), torch.tensor([[0.0, 1.0, 1.0]]))
        0.5
    """
    right = (scores.argmax(-1) == targets).double()
    return float(_share(right, weights).mean())


def diversity(
    samples: Int[Tensor, "draws n places"],
    weights: Float[Tensor, "n places"],
    *,
    own: bool = False,
) -> float:
    """One less the mean share of equal places of two proposals for the same sample.

    Counted place by place, so that no pair is looked at: of s draws in which a token comes c times,
    c (c - 1) of s (s - 1) pairs agree.

    References:
        | Reprogramming Pretrained Language Models for Antibody Sequence Infilling (Melnyk,
          Chenthamarakshan, Chen, Das, Dhurandhar, Padhi, Das, 2023), whose code counts the pairs of
          a proposal with itself too. https://arxiv.org/abs/2210.07144

    Arguments:
        samples: Two proposals or more for each sample.
        weights: Positive where a place was asked for.
        own: Whether a proposal is paired with itself too, as the published code does; with s draws
            the result is then (s - 1) / s of the other.

    Raises:
        UserError: if there are fewer than two draws, or no place was asked for.

    Example:
        >>> samples = torch.tensor([[[0, 1]], [[0, 2]]])
        >>> diversity(samples, torch.ones(1, 2)), diversity(samples, torch.ones(1, 2), own=True)
        (0.5, 0.25)
    """
    draws = len(samples)
    if draws < 2:
        raise UserError(f"argument 'samples' has {draws} draws; two proposals or more are compared")
    tokens = int(samples.max()) + 1
    counts = torch.zeros(*samples.shape[1:], tokens, dtype=torch.double)  # (n, places, tokens)
    at = samples.permute(1, 2, 0).cpu()  # (n, places, draws)
    counts.scatter_add_(2, at, torch.ones_like(at, dtype=torch.double))
    pairs = (counts * counts).sum(-1) if own else (counts * (counts - 1)).sum(-1)
    equal = pairs / (draws * draws if own else draws * (draws - 1))  # (n, places)
    return 1 - float(_share(equal, weights).mean())


def propose(
    scores: Float[Tensor, "n places tokens"], count: int = 100, *, seed: int = 0
) -> Int[Tensor, "count n places"]:
    """Proposals drawn at each place by itself, from one answer of the source.

    Arguments:
        scores: Log-scores of the tokens.
        count: Proposals for each sample.
        seed: Of the draws.

    Example:
        >>> propose(torch.zeros(2, 5, 4), 3).shape
        torch.Size([3, 2, 5])
    """
    generator = torch.Generator().manual_seed(seed)
    flat = scores.cpu().softmax(-1).flatten(0, 1)  # (n places, tokens)
    drawn = torch.multinomial(flat, count, replacement=True, generator=generator)
    return drawn.T.reshape(count, *scores.shape[:2])


@torch.no_grad()
def infilling(
    program: Program, split: Split, *, count: int = 100, seed: int = 0, batch_size: int = 64
) -> dict[str, float]:
    """Recovery and diversity of a program that fills sequences in.

    Recovery is that of the likeliest tokens; the paper reports the best of 100 proposals as ranked
    by another language model, which is not done here.

    Arguments:
        program: Of a task that asks for tokens.
        split: Its rows.
        count: Proposals drawn for each sample, >= 2.
        seed: Of the draws.
        batch_size: Samples in one source call.

    Returns:
        ``recovery``, ``diversity`` and ``diversity_own`` (with pairs of a proposal with itself), as
        fractions.

    Raises:
        UserError: if the task asks for something else.
    """
    if program.task.target != "tokens":
        raise UserError(f"infilling is for tasks that ask for tokens; {program.task.name} asks for "
                        f"{program.task.target}")  # fmt: skip
    prepared = Prepared(program.transformation, split, program.device)
    model = program.model
    index = torch.arange(len(split)).split(batch_size)
    scores = torch.cat([model.run(prepared.batch(i)[0]).cpu() for i in index])
    proposals = propose(scores, count, seed=seed)
    return {
        "recovery": recovery(scores, split.targets, split.weights),
        "diversity": diversity(proposals, split.weights),
        "diversity_own": diversity(proposals, split.weights, own=True),
    }


def _share(value: Tensor, weights: Tensor) -> Tensor:
    """(samples,) mean over the places asked for, of the samples that have one."""
    asked = (weights > 0).double()
    kept = asked.sum(1) > 0
    if not kept.any():
        raise UserError("argument 'weights' asks for no place; one at least must be positive")
    return (value.double() * asked).sum(1)[kept] / asked.sum(1)[kept]
