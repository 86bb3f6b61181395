"""What a population in one source call saves over a call for each member.

    python benchmarks/population.py [--members 16] [--rounds 5] [--threads 1]

Prints, for a convolutional and a recurrent source and for several batch sizes, milliseconds a step
both ways, measured in turns in one run, and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

import reprogram
from reprogram.criteria import CrossEntropy
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.optim import flatten
from reprogram.tasks import make_task

BATCHES = (1, 8, 32)


def worlds() -> list[tuple[str, reprogram.Training, reprogram.tasks.Task]]:
    """A residual network behind a frame, an attention RNN behind a convolution."""
    digits, series = reprogram.load_task("digits"), torch.randn(200, 96)
    waves = make_task("waves", "series", (series, ["a", "b"] * 100))
    images = reprogram.load_source("zoo:images")
    speech = reprogram.load_source("zoo:speech-commands")
    return [
        ("zoo:images", reprogram.recipes.ar(images, digits), digits),
        ("zoo:speech-commands#log-mel", reprogram.recipes.series_to_features(speech, waves), waves),
    ]


def measure(
    training: reprogram.Training,
    task: reprogram.tasks.Task,
    *,
    size: int,
    members: int,
    rounds: int,
) -> tuple[float, float]:
    """Median seconds of a step: in one call, and in a call for each member."""
    model = Reprogrammed(training.source, training.transformation, training.mapping)
    x, y, w = task.train.batch(torch.arange(size))
    batch = model.transformation.prepare(x), y, w
    parameters = flatten(model.transformation.parameters())
    generator = torch.Generator().manual_seed(0)
    population = parameters + 0.01 * torch.randn(
        (members, len(parameters)), generator=generator
    )  # (members, parameters)
    objective = BatchObjective(model, CrossEntropy(), batch, seed=0, step=0)
    times: list[tuple[float, float]] = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        together = objective(population)
        between = time.perf_counter()
        alone = torch.cat([objective(row[None]) for row in population])
        times.append((between - began, time.perf_counter() - between))
        torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)
    one, each = zip(*times[1:], strict=True)  # the first warms up
    return statistics.median(one), statistics.median(each)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.members} members, {options.threads} threads, median of {options.rounds}")
    print(f"{'source':30} {'batch':>5} {'one call':>12} {'a call each':>12} {'ratio':>6}")
    for name, training, task in worlds():
        training.bind(task.spec)
        for size in BATCHES:
            one, each = measure(
                training, task, size=size, members=options.members, rounds=options.rounds
            )
            print(f"{name:30} {size:5} {1000 * one:9.1f} ms {1000 * each:9.1f} ms "
                  f"{each / one:6.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
