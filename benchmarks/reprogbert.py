"""What folding saves: the linear maps of ReprogBERT, into and out of BERT's vocabulary.

    python benchmarks/reprogbert.py [--rounds 3] [--batch 32]

At the published shapes: 130 places, 30 target tokens, 30,522 source tokens, width 768. Each figure
is a ratio of the processor's times, taken in one run, by turns, in one thread; the table is made
anew every time, as in a step of training. The unfolded maps need about 3 GB.
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

from reprogram.lexicon import Lexicon
from reprogram.mappings import TokenLinear
from reprogram.sources import CallableSource
from reprogram.transformations import DenseRows
from reprogram.types import InputSpec, OutputSpec, TaskSpec

LENGTH, TARGETS, TOKENS, WIDTH = 130, 30, 30_522, 768

Step = Callable[[], Tensor]


def tables(generator: torch.Generator) -> Lexicon:
    """As large as BERT's, with its deviation."""
    embeddings, weight = (0.02 * torch.randn(TOKENS, WIDTH, generator=generator) for _ in range(2))
    return Lexicon(None, embeddings, weight, 0.02 * torch.randn(TOKENS, generator=generator))


def seconds(work: Callable[[], object]) -> float:
    """Of the processor, in one call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def compare(name: str, slow: Step, fast: Step, trained: tuple[Tensor, ...], rounds: int) -> None:
    """Print how much faster the second is, forward and with its backward pass."""
    with torch.no_grad():
        wanted, told = slow(), fast()
    error = float((wanted - told).abs().max() / wanted.abs().max())

    def both_ways(step: Step) -> None:
        torch.autograd.grad(step().sum(), trained)

    for what, run in (("forward", lambda step: step()), ("and backward", both_ways)):
        ratios = [seconds(partial(run, slow)) / seconds(partial(run, fast)) for _ in range(rounds)]
        print(f"{name}, {what}: folded is {statistics.median(ratios):.0f} x faster "
              f"({min(ratios):.0f} to {max(ratios):.0f})")  # fmt: skip
    print(f"{name}: outputs differ by {error:.1e} of the largest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    lexicon = tables(generator)
    door = InputSpec("embeddings", (LENGTH, WIDTH))
    source = CallableSource(len, door, OutputSpec("embedding", (WIDTH,)))
    source.lexicon = lexicon
    ids = torch.randint(1, TARGETS + 1, (options.batch, LENGTH), generator=generator)

    rows = DenseRows()
    rows.bind(source, TaskSpec("in", InputSpec("tokens", (LENGTH,), 0, TARGETS), ("a", "b")))
    theta = rows.theta
    compare(
        "theta E at every place",
        lambda: F.embedding(ids - 1, theta[0]) @ lexicon.embeddings,
        lambda: rows(ids).values,
        (theta,),
        options.rounds,
    )

    mapping = TokenLinear()
    acids = tuple(map(str, range(TARGETS)))
    mapping.bind(source, TaskSpec("out", InputSpec("text", (LENGTH,)), acids, target="tokens"))
    hidden = torch.randn(options.batch, LENGTH, WIDTH, generator=generator)
    hidden.requires_grad_()  # its gradient goes on into the source
    assert lexicon.weight is not None
    weight, bias = lexicon.weight, lexicon.bias
    compare(
        "gamma W at every place",
        lambda: F.linear(F.linear(hidden, weight, bias), mapping.gamma),
        lambda: mapping(hidden),
        (mapping.gamma, hidden),
        options.rounds,
    )


if __name__ == "__main__":
    main()
