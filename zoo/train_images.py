"""Trains ``zoo:images``: a residual network of 20 layers on 10,000 JPEG-coded CIFAR-10 images.

    python zoo/train_images.py DATA [--work FOLDER] [--export FOLDER]

``DATA`` holds ``cifar10_jpg/``: ``train_CLASS.zip`` and ``test_CLASS.zip`` for each class. Run
again after an interruption and it goes on from its last epoch.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from loop import SEED, arguments, produce
from PIL import Image
from torch import Tensor, nn

from reprogram.sources.images import Normalise
from reprogram.sources.residual import ResidualNetwork

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)  # of CIFAR-10's training images
BATCH, VALIDATION = 128, 100  # validation images a class, cut from the training images
SPLITS = ("train", "validation", "test")


def load(folder: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Images (count, 3, 32, 32) in [0, 1] and labels (count,) of each split."""
    images: dict[str, list[np.ndarray]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    for index, label in enumerate(CLASSES):
        for part in ("train", "test"):
            with zipfile.ZipFile(folder / f"{part}_{label}.zip") as archive:
                names = sorted(n for n in archive.namelist() if n.endswith(".jpg"))
                for rank, name in enumerate(names):
                    with archive.open(name) as file:
                        pixels = np.asarray(Image.open(file).convert("RGB"))
                    held_out = part == "train" and rank >= len(names) - VALIDATION
                    split = "validation" if held_out else part
                    images[split].append(pixels)
                    labels[split].append(index)
    return {
        s: (
            torch.from_numpy(np.stack(images[s])).permute(0, 3, 1, 2).float() / 255,
            torch.tensor(labels[s]),
        )
        for s in SPLITS
    }


class Augment:
    """Augmented batches of normalised images with soft labels.

    Flips, crops from a reflected margin of 4 pixels, brightness and contrast, a hole of up to 16
    pixels, and in half of the batches a mixture of two images or a patch of another.
    """

    def __init__(self, images: Tensor, labels: Tensor, *, smoothing: float = 0.05) -> None:
        self.images = nn.functional.pad(images, (4, 4, 4, 4), mode="reflect")
        self.labels = labels
        self.normalise = Normalise(mean=MEAN, std=STD)
        self.smoothing = smoothing
        self.steps = len(labels) // BATCH

    def __call__(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        g = torch.Generator().manual_seed(SEED * 10_000 + epoch)
        order = torch.randperm(len(self.labels), generator=g)
        for rows in order[: self.steps * BATCH].split(BATCH):
            x = self.normalise(self.look(self.images[rows], g))
            y = nn.functional.one_hot(self.labels[rows], len(CLASSES)).float()
            y = y * (1 - self.smoothing) + self.smoothing / len(CLASSES)
            other = torch.randperm(BATCH, generator=g)
            draw = torch.rand((), generator=g)
            if draw < 0.25:  # mixtures: the share ~ Beta(1, 1)
                share = torch.rand(BATCH, 1, generator=g)
                x = share[:, :, None, None] * x + (1 - share[:, :, None, None]) * x[other]
                y = share * y + (1 - share) * y[other]
            elif draw < 0.5:  # patches of another image
                patch = self.square(32 * torch.rand(BATCH, generator=g).sqrt(), g)
                x = torch.where(patch, x[other], x)
                share = 1 - patch.float().mean((1, 2, 3))[:, None]
                y = share * y + (1 - share) * y[other]
            else:
                x = x * ~self.square(16 * torch.rand(BATCH, generator=g), g)
            yield x, y

    def look(self, padded: Tensor, g: torch.Generator) -> Tensor:
        """(batch, 3, 40, 40) -> (batch, 3, 32, 32), otherwise cut and lit."""
        count = len(padded)
        rows = torch.arange(32) + torch.randint(9, (count, 1), generator=g)
        columns = torch.arange(32) + torch.randint(9, (count, 1), generator=g)
        flipped = torch.rand(count, 1, generator=g) < 0.5
        columns = torch.where(flipped, columns.flip(1), columns)
        samples = torch.arange(count)[:, None, None]
        x = padded[samples, :, rows[:, :, None], columns[:, None, :]]  # (batch, 32, 32, 3)
        x = x.permute(0, 3, 1, 2)
        contrast, brightness = 0.8 + 0.4 * torch.rand(2, count, 1, 1, 1, generator=g)
        mean = x.mean((1, 2, 3), keepdim=True)
        return (((x - mean) * contrast + mean) * brightness).clamp(0, 1).contiguous()

    def square(self, side: Tensor, g: torch.Generator) -> Tensor:
        """(batch,) sides -> masks (batch, 1, 32, 32), true in a square about a random pixel."""
        centre = torch.rand(2, len(side), 1, generator=g) * 32
        inside = (torch.arange(32) - centre).abs() < side[:, None] / 2  # (2, batch, 32)
        return (inside[0][:, :, None] & inside[1][:, None, :])[:, None]


CARD = """# images

Small network of images: 32 x 32 colour images in [0, 1] to 10 classes.{status}

- **Architecture**: ResNet-20 for CIFAR (He, Zhang, Ren, Sun, 2015, arXiv 1512.03385), shortcuts
  without weights (option A); {parameters:,} weights, kept in float16.
- **Classes**: {classes}.
- **Data**: 12,000 images of CIFAR-10 (Krizhevsky, 2009), JPEG-coded once more, 1,000 of each class
  from the training images and 200 from the test images. CIFAR-10 is free to use with citation; it
  carries no explicit licence.
- **Split**: {train:,} training, {validation:,} validation (the last {cut} of each class),
  {test:,} test.
- **Training**: `zoo/train_images.py`, seed {seed}, {epochs} epochs of AdamW under one cosine cycle;
  flips, crops, light, holes, mixtures and patches; moving average of the weights; epoch {epoch}
  chosen on validation; {minutes:.0f} minutes on a shared core.
- **Accuracy** of these rounded weights: validation {accuracy[validation]},
  test {accuracy[test]}.
- **Known limits**: a tenth of the usual training images, and lossy ones: a source to borrow, no
  classifier to rely on.
- **Licence**: Apache-2.0 for the weights; the images are not part of this project.
"""


def main() -> None:
    """Trains, measures once on test, exports."""
    options = arguments(__doc__, "images", epochs=90)
    splits = load(options.data / "cifar10_jpg")
    sizes = {s: len(splits[s][1]) for s in SPLITS}
    print("images", sizes, flush=True)
    normalise = Normalise(mean=MEAN, std=STD)
    held_out = {s: (normalise(splits[s][0]), splits[s][1]) for s in ("validation", "test")}
    network = ResidualNetwork(depth=20, classes=len(CLASSES))
    batches = Augment(*splits["train"])
    produce(
        "images", network, batches, held_out, options,
        steps=batches.steps, rate=4e-3, decay=0.05,
        settings={
            "architecture": "ResidualNetwork", "depth": 20, "classes": list(CLASSES),
            "mean": list(MEAN), "std": list(STD), "images": sizes,
        },
        card=CARD,
        facts={
            "parameters": sum(p.numel() for p in network.parameters()),
            "classes": ", ".join(CLASSES), "cut": VALIDATION, **sizes,
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
