"""Reprogram a model that can only be called: SPSA on a callable that returns probabilities.

    python examples/black_box.py

The callable hides the embedded image network; nothing of it but its answers is used. A frame around
8-pixel digits is trained from those answers, the linear mapping from its exact gradient.
"""

from functools import partial

import torch

import reprogram
from reprogram.optim import SPSA, cosine
from reprogram.sources import CallableSource


def main(steps: int = 100) -> float:
    hidden = reprogram.load_source("zoo:images")
    source = CallableSource(
        lambda images: hidden(images).softmax(1),
        hidden.input,
        hidden.output,
        scores=reprogram.Scores.PROBABILITIES,
    )
    task = reprogram.load_task("digits").limit(64 * steps)
    adam = partial(torch.optim.Adam, lr=0.05)
    training = reprogram.recipes.ar(
        source,
        task,
        optimizer=SPSA(adam, c=0.05, directions=4, scheduler=cosine),
        mapping="Linear",
        epochs=max(1, 64 * steps // len(task.train)),
    )
    program = reprogram.fit(training, task)
    print(f"test accuracy {program.metrics['test']['accuracy']:.3f}")
    print(f"queries {program.metrics['queries']:,}")
    return program.metrics["test"]["accuracy"]


if __name__ == "__main__":
    main()
