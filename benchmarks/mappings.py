"""What label mappings cost: an epoch with one, and counting against the one-hot formulation.

    python benchmarks/mappings.py [--rounds 5]

Both figures are ratios of times taken in one run, by turns, in one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

import reprogram
from reprogram.mappings import Bayesian, Discriminant, Fixed, Iterative, Mapping
from reprogram.mappings.counts import assign, count
from reprogram.optim import Backprop
from reprogram.tasks import make_task
from reprogram.train import Training, fit
from reprogram.transformations import Frame

PREDICTIONS, CLASSES, TARGETS = 50_000, 1_000, 397


def one_hot_counts(predicted: Tensor, target: Tensor) -> Tensor:
    """As the published code counts: one-hot predictions, gathered target class by target class."""
    one_hot = torch.zeros(len(predicted), CLASSES, dtype=torch.long)
    one_hot.scatter_(1, predicted[:, None], 1)
    columns = [one_hot[target == t].sum(0) for t in range(TARGETS)]
    return torch.stack(columns, 1)


def ours(predicted: Tensor, target: Tensor) -> Tensor:
    """As the mappings count."""
    counts = torch.zeros(CLASSES, TARGETS)
    count(counts, predicted, target, torch.ones(len(predicted)))
    return counts


def greedy(counts: Tensor) -> list[int]:
    """The published loop: an argmax of the whole table for each target class."""
    table, found = counts.clone(), [0] * TARGETS
    for _ in range(TARGETS):
        s, t = divmod(int(table.argmax().item()), TARGETS)
        found[t] = s
        table[s], table[:, t] = -1, -1
    return found


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def ratio(slow: Callable[[], object], fast: Callable[[], object], rounds: int) -> list[float]:
    """Times of ``slow`` over times of ``fast``, by turns; the first of each is not counted."""
    slow(), fast()
    return [seconds(slow) / seconds(fast) for _ in range(rounds)]


def epoch_of(mapping: Callable[[], Mapping], epochs: int = 3) -> float:
    """Seconds of the last epochs of a fit, the initial pass left out."""
    source = reprogram.load_source("zoo:images")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (640, 3, 24, 24), dtype=torch.uint8, generator=generator)
    task = make_task("noise", "image", (images, [str(i % 10) for i in range(640)]))
    task = reprogram.tasks.Task(task.spec, task.train)  # no validation, no test: steps alone
    training = Training(
        source, Frame(squash="sigmoid"), mapping(), Backprop(partial(torch.optim.Adam, lr=0.01)),
        epochs=epochs, batch_size=64,
    )  # fmt: skip
    at: list[float] = []
    fit(training, task, progress=lambda p: at.append(time.perf_counter()))
    per_epoch = len(at) // epochs
    return at[-1] - at[per_epoch - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randint(CLASSES, (PREDICTIONS,), generator=generator)
    target = torch.randint(TARGETS, (PREDICTIONS,), generator=generator)
    assert torch.equal(ours(predicted, target).long(), one_hot_counts(predicted, target))
    counts = ours(predicted, target)
    assert assign(counts)[:, 0].tolist() == greedy(counts)
    times = ratio(
        partial(one_hot_counts, predicted, target), partial(ours, predicted, target), rounds
    )
    print(f"counting {PREDICTIONS} predictions, {CLASSES} x {TARGETS}: "
          f"{statistics.median(times):.0f} x faster than one-hot ({min(times):.0f} to "
          f"{max(times):.0f})")  # fmt: skip
    times = ratio(partial(greedy, counts), partial(assign, counts), rounds)
    print(f"greedy assignment: {statistics.median(times):.1f} x faster than the loop "
          f"({min(times):.1f} to {max(times):.1f})")  # fmt: skip
    cases: dict[str, Callable[[], Mapping]] = {
        "iterative": Iterative,
        "Bayesian": Bayesian,
        "Bayesian+": lambda: Bayesian(top=0.15),
        "discriminant": Discriminant,
        "iterative, fresh pass": lambda: Iterative(fresh_pass=True),
    }
    for name, make in cases.items():
        times = [epoch_of(make) / epoch_of(Fixed) for _ in range(rounds)]
        print(f"an epoch, {name} mapping over a fixed one: {statistics.median(times):.3f} "
              f"({min(times):.3f} to {max(times):.3f})")  # fmt: skip


if __name__ == "__main__":
    main()
