"""How much of the true gradient each estimator finds for what it asks.

    python benchmarks/estimators.py [--evaluations 16] [--rounds 20] [--batch 16] [--c 0.005]

On images behind a frame and on a linear map of few parameters in front of the same network, prints
for every estimator the evaluations of a step, the mean cosine between its estimate and the gradient
that backpropagation finds, its square for each evaluation (what a budget buys), and that as a ratio
to one-sided random directions. Estimates are of one batch, each with directions of its own.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import reprogram
from reprogram.criteria import CrossEntropy
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.optim import NES, SPSA, Backprop, GradientStep, RandomDirections
from reprogram.transformations import Transformation

STILL = partial(torch.optim.SGD, lr=0.0)


class Blend(Transformation):
    """Lays the image, enlarged, between a dark and a light colour of each row."""

    def bind(self, source: Any, task: Any) -> None:
        self.shape = source.input.shape
        channels, height, _ = self.shape
        self.dark = nn.Parameter(torch.zeros(channels, height, 1))
        self.light = nn.Parameter(torch.zeros(channels, height, 1))

    def forward(self, prepared: Tensor) -> Tensor:
        x = nn.functional.interpolate(prepared, self.shape[1:], mode="bilinear")
        dark, light = self.dark.sigmoid(), self.light.sigmoid()
        return dark + (light - dark) * x


def estimators(evaluations: int, c: float, d: int) -> dict[str, Callable[[int], Any]]:
    """By name, made with a seed; all ask for as many evaluations, at the same distance."""
    half, length = evaluations // 2, c * d**0.5
    one = partial(RandomDirections, STILL, c=length, directions=evaluations - 1)
    two, normal = (partial(kind, STILL, c=c, directions=half) for kind in (SPSA, NES))
    return {
        "random directions": lambda s: one(seed=s),
        "random directions, orthogonal": lambda s: one(orthogonal=True, seed=s),
        "SPSA": lambda s: two(seed=s),
        "SPSA, segmented": lambda s: two(law="segmented", seed=s),
        "SPSA, orthogonal": lambda s: two(orthogonal=True, seed=s),
        "NES": lambda s: normal(ranks=False, seed=s),
        "NES, ranks": lambda s: normal(seed=s),
        "NES, ranks, orthogonal": lambda s: normal(orthogonal=True, seed=s),
    }


def estimate(optimizer: GradientStep, objective: BatchObjective) -> Tensor:
    """One estimate (D,), from a fresh start."""
    transformation = objective.model.transformation
    optimizer.bind(transformation, nn.Identity(), 1)
    optimizer.step(objective)
    return torch.cat([p.grad.reshape(-1) for p in transformation.parameters()])  # pyright: ignore


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--evaluations", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--c", type=float, default=0.005)
    options = parser.parse_args()
    source, task = reprogram.load_source("zoo:images"), reprogram.load_task("digits")
    for name, transformation in (("frame", None), ("blend", Blend())):
        training = reprogram.recipes.ar(source, task, mapping="ManyToOne")
        training.transformation = transformation or training.transformation
        training.bind(task.spec)
        model = Reprogrammed(source, training.transformation, training.mapping)
        x, y, w = task.train.batch(torch.arange(options.batch))
        batch = model.transformation.prepare(x), y, w
        objective = BatchObjective(model, CrossEntropy(), batch, seed=0, step=0)
        true = estimate(Backprop(STILL), objective)
        print(f"{name}: {len(true)} parameters, {options.batch} images, {options.rounds} rounds")
        print(f"{'':30} {'evaluations':>11} {'cosine':>7} {'squared, each':>13} {'ratio':>6}")
        base = 0.0
        for kind, make in estimators(options.evaluations, options.c, len(true)).items():
            cosines = [
                float(torch.cosine_similarity(estimate(make(seed), objective), true, dim=0))
                for seed in range(options.rounds)
            ]
            cost = make(0).evaluations
            worth = statistics.fmean(c * c for c in cosines) / cost
            base = base or worth
            print(f"{kind:30} {cost:11} {statistics.fmean(cosines):7.3f} {worth:13.2e} "
                  f"{worth / base:6.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
