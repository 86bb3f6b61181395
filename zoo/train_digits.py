"""Trains ``zoo:digits``: a LeNet of handwritten digits, by which generated digits are judged.

    python zoo/train_digits.py DATA [--work FOLDER] [--export FOLDER]

``DATA`` holds ``mnist/``, as the task ``mnist`` reads it. Run again after an interruption and it
goes on from its last epoch.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

import torch
from loop import SEED, arguments, produce
from torch import Tensor, nn

from reprogram import tasks
from reprogram.sources.images import Normalise
from reprogram.sources.lenet import LeNet

CLASSES = tuple("0123456789")
MEAN, STD = (0.1307,), (0.3081,)  # of MNIST's training images
BATCH, SHIFT = 128, 2  # pixels by which training moves a digit at most
SPLITS = ("train", "validation", "test")


def load(options: argparse.Namespace) -> dict[str, tuple[Tensor, Tensor]]:
    """Images (count, 1, 28, 28) in [0, 1] and labels (count,) of each split of MNIST."""
    os.environ["REPROGRAM_DATA"] = str(options.data)  # where the task looks
    task = tasks.load("mnist", seed=SEED)
    splits = {split: getattr(task, split) for split in SPLITS}
    return {name: split.batch(torch.arange(len(split)))[:2] for name, split in splits.items()}


class Batches:
    """Shuffled batches of normalised digits, each moved by up to two pixels, with its label."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images = nn.functional.pad(images[:, 0], (SHIFT,) * 4)  # (count, 32, 32)
        self.labels = labels
        self.normalise = Normalise(mean=MEAN, std=STD)
        self.steps = len(labels) // BATCH

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        g = torch.Generator().manual_seed(SEED * 10_000 + epoch)
        order = torch.randperm(len(self.labels), generator=g)
        for rows in order[: self.steps * BATCH].split(BATCH):
            down, right = torch.randint(2 * SHIFT + 1, (2, BATCH, 1), generator=g)
            down, right = down + torch.arange(28), right + torch.arange(28)  # (batch, 28)
            x = self.images[rows[:, None, None], down[:, :, None], right[:, None, :]]
            y = nn.functional.one_hot(self.labels[rows], len(CLASSES)).float()
            yield self.normalise(x[:, None]), y


CARD = """# digits

Small judge of handwritten digits: 28 x 28 grey images in [0, 1], light on dark, to the classes 0
to 9.{status}

- **Architecture**: LeNet (LeCun, Bottou, Bengio, Haffner, 1998) with ReLUs and maxima;
  {parameters:,} weights, kept in float16. `features` gives the 84 numbers in front of the last
  layer.
- **For**: the measures that a run takes of its own images (`reprogram.likeness`). Results are told
  by `zoo:mnist-lenet`, which others trained.
- **Data**: MNIST (LeCun, Bottou, Bengio, Haffner, 1998).
- **Split**: {train:,} training and {validation:,} validation digits, cut from the published
  training rows by the task `mnist`; {test:,} test.
- **Training**: `zoo/train_digits.py`, seed {seed}, {epochs} epochs of AdamW under one cosine cycle;
  digits moved by up to {shift} pixels; moving average of the weights; epoch {epoch} chosen on
  validation; {minutes:.1f} minutes on a shared core.
- **Accuracy** of these rounded weights: validation {accuracy[validation]},
  test {accuracy[test]}.
- **Known limits**: it knows digits only: whatever it is shown, it reads as one.
- **Licence**: Apache-2.0 for the weights; the images are not part of this project.
"""


def main() -> None:
    """Trains, measures once on test, exports."""
    options = arguments(__doc__, "digits", epochs=15)
    data = load(options)
    sizes = {split: len(labels) for split, (_, labels) in data.items()}
    print("digits", sizes, flush=True)
    batches = Batches(*data["train"])
    normalise = Normalise(mean=MEAN, std=STD)
    network = LeNet(classes=len(CLASSES))
    produce(
        "digits", network, batches,
        {split: (normalise(data[split][0]), data[split][1]) for split in SPLITS[1:]},
        options, steps=batches.steps, rate=4e-3, decay=0.01, bfloat16=False,
        settings={
            "architecture": "LeNet", "classes": list(CLASSES), "mean": list(MEAN),
            "std": list(STD), "digits": sizes,
        },
        card=CARD,
        facts={
            "parameters": sum(p.numel() for p in network.parameters()), "shift": SHIFT, **sizes,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
