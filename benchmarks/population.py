"""What a population in one source call saves over a call for each member.

    python benchmarks/population.py [--source zoo:images] [--members 16] [--batch 8]

Prints milliseconds a step both ways, measured in turns in one run, and their ratio.
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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # pyright: ignore
    parser.add_argument("--source", default="zoo:images")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    source, task = reprogram.load_source(options.source), reprogram.load_task("digits")
    training = reprogram.recipes.ar(source, task, mapping="Linear")
    training.bind(task.spec)
    model = Reprogrammed(source, training.transformation, training.mapping)
    x, y, w = task.train.batch(torch.arange(options.batch))
    batch = model.transformation.prepare(x), y, w
    parameters = flatten(model.transformation.parameters())
    generator = torch.Generator().manual_seed(0)
    shape = (options.members, len(parameters))
    population = parameters + 0.01 * torch.randn(shape, generator=generator)
    objective = BatchObjective(model, CrossEntropy(), batch, seed=0, step=0)

    times: dict[str, list[float]] = {"one call": [], "a call each": []}
    for turn in range(options.rounds + 1):
        began = time.perf_counter()
        together = objective(population)
        between = time.perf_counter()
        alone = torch.cat([objective(row[None]) for row in population])
        ended = time.perf_counter()
        torch.testing.assert_close(together, alone, atol=1e-3, rtol=1e-3)
        if turn:  # the first warms up
            times["one call"].append(between - began)
            times["a call each"].append(ended - between)
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"{options.source}, {options.members} members, batch {options.batch}, "
          f"{options.threads} threads, median of {options.rounds}")  # fmt: skip
    for name, seconds in median.items():
        print(f"{name:12} {1000 * seconds:9.1f} ms")
    print(f"{'ratio':12} {median['a call each'] / median['one call']:9.2f}")


if __name__ == "__main__":
    main()
