"""What the vocabulary layer costs: gathering against the dense formulation, and choosing atoms.

    python benchmarks/vocabulary.py [--rounds 3]

The dense formulation is the published one (Neekhara et al., 2019, and their code): tokens as
one-hot vectors, convolved with a kernel for each token of the source, at its published shapes.
Ratios are of the processor's times, taken in one run, by turns, in one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from reprogram.transformations.vocabulary.base import gather
from reprogram.transformations.vocabulary.pursuit import pursue, weigh

BATCH, LENGTH, CONTEXT = 8, 500, 5  # texts, their tokens, those that a choice depends on
TARGET, SOURCE = 957, 10_002  # tokens of the two vocabularies
ATOMS, WIDTH = 30_522, 384  # a dictionary to choose from, as large as that of MiniLM
CHOICES = [(66, 8), (66, 32), (1000, 8)]  # tokens and atoms of each


def dense(kernel: Tensor, ids: Tensor) -> Tensor:
    """As published: one-hot tokens (id 0 is none) and a convolution; (batch, length, source)."""
    hot = F.one_hot(ids, len(kernel[0]) + 1)[..., 1:].to(kernel.dtype)  # (batch, length, target)
    return F.conv1d(hot.mT, kernel.permute(2, 1, 0), padding=len(kernel) // 2).mT


def gathered(table: Tensor, ids: Tensor) -> Tensor:
    """As the layer does; (batch, length, source)."""
    return gather(table, ids, ids > 0).reshape(*ids.shape, -1)


def backward(form: Callable[[Tensor, Tensor], Tensor], table: Tensor, ids: Tensor) -> float:
    """Seconds of the processor for the backward pass alone."""
    out = form(table.requires_grad_(), ids)
    weights = torch.ones_like(out)
    began = time.process_time()
    torch.autograd.grad(out, table, weights)
    return time.process_time() - began


def forward(form: Callable[[Tensor, Tensor], Tensor], table: Tensor, ids: Tensor) -> float:
    """Seconds of the processor for the forward pass."""
    with torch.no_grad():
        began = time.process_time()
        form(table, ids)
        return time.process_time() - began


def tell(what: str, values: list[float], unit: str) -> None:
    """A median with its range."""
    low, middle, high = min(values), statistics.median(values), max(values)
    print(f"{what}: {middle:.1f}{unit} ({low:.1f} to {high:.1f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, TARGET + 1, (BATCH, LENGTH), generator=generator)
    table = torch.randn(CONTEXT, TARGET, SOURCE, generator=generator)
    with torch.no_grad():
        worst = float((dense(table, ids) - gathered(table, ids)).abs().max())
    print(f"largest difference of the two forms: {worst:.1e}", flush=True)
    for name, time_of in (("forward", forward), ("backward", backward)):
        time_of(gathered, table, ids)
        ratios = [time_of(dense, table, ids) / time_of(gathered, table, ids) for _ in range(rounds)]
        tell(f"{name}, gathering is faster", ratios, " x")
    del table
    atoms = torch.randn(ATOMS, WIDTH, generator=generator)
    for tokens, k in CHOICES:
        x = torch.randn(tokens, WIDTH, generator=generator)
        for what, first in (("all", None), ("one", pursue(x, atoms, k - 1))):
            times = []
            for _ in range(rounds):
                began = time.process_time()
                index = pursue(x, atoms, k, first)
                times.append(1000 * (time.process_time() - began))
            tell(f"{tokens} tokens, {what} of {k} atoms chosen among {ATOMS}", times, " ms")
        work = partial(weigh, x, atoms[index])
        began = time.process_time()
        work()
        print(f"  their weights: {1000 * (time.process_time() - began):.1f} ms", flush=True)


if __name__ == "__main__":
    main()
