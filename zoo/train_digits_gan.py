"""Trains ``zoo:digits-gan``: a generator of handwritten digits of no particular class.

    python zoo/train_digits_gan.py DATA [--work FOLDER] [--export FOLDER]

``DATA`` holds ``mnist/``, as the task ``mnist`` reads it; its training digits alone are learned
from. Run again after an interruption and it goes on from its last epoch. It is measured in the
features of ``zoo:digits``, which ``train_digits.py`` makes.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from loop import SEED, arguments
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import relu
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from train_digits import load

from reprogram import sources
from reprogram.criteria.discriminators import Plain
from reprogram.likeness import density_coverage, frechet, precision_recall
from reprogram.sources.generator import DigitsGenerator

SHAPE = {"noise": 64, "width": 96}  # of the generator
NOISE, IMAGE = SHAPE["noise"], (1, 28, 28)
BATCH = 64
RATES, BETAS = (3e-4, 6e-4), (0.5, 0.99)  # of Adam: generator, discriminator
AVERAGE = 0.999  # of the moving average of the generator's weights, per step
MEASURED = 10_000  # images by which it is measured


class Adversaries:
    """A generator and its discriminator in training, with what an interrupted run needs."""

    def __init__(self, generator: nn.Module, steps: int) -> None:
        self.generator = _laid_out(generator)
        self.discriminator = _laid_out(Plain(IMAGE, 1))
        self.averaged = AveragedModel(
            generator, multi_avg_fn=get_ema_multi_avg_fn(AVERAGE), use_buffers=True
        )
        self.optimizers = [
            torch.optim.Adam(network.parameters(), lr=rate, betas=BETAS)
            for network, rate in zip((self.generator, self.discriminator), RATES, strict=True)
        ]
        # The second half of the steps comes to rest.
        self.schedules = [
            torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1.0, 2 * (1 - step / steps)))
            for o in self.optimizers
        ]
        self.epoch, self.seconds = 0, 0.0

    def state(self) -> dict[str, Any]:
        """All of it."""
        return {
            "generator": self.generator.state_dict(), "averaged": self.averaged.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "schedules": [{"last_epoch": s.last_epoch} for s in self.schedules],
            "epoch": self.epoch, "seconds": self.seconds,
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        for name in ("generator", "averaged", "discriminator"):
            getattr(self, name).load_state_dict(state[name])
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        for schedule, own in zip(self.schedules, state["schedules"], strict=True):
            schedule.load_state_dict({**schedule.state_dict(), **own})
        self.epoch, self.seconds = state["epoch"], state["seconds"]

    def step(self, real: Tensor, g: torch.Generator) -> tuple[float, float]:
        """One step of each against the other; both hinge losses, the discriminator's first."""
        fake = self.generator(torch.randn(len(real), NOISE, generator=g))
        told, claimed = self.discriminator(torch.cat([real, fake.detach()])).chunk(2)
        loss = relu(1 - told).mean() + relu(1 + claimed).mean()
        self.optimizers[1].zero_grad()
        loss.backward()
        self.optimizers[1].step()
        self.discriminator.requires_grad_(False)
        deceit = -self.discriminator(fake).mean()
        self.discriminator.requires_grad_(True)
        self.optimizers[0].zero_grad()
        deceit.backward()
        self.optimizers[0].step()
        self.averaged.update_parameters(self.generator)
        for schedule in self.schedules:
            schedule.step()
        return loss.item(), deceit.item()


def _laid_out(network: nn.Module) -> nn.Module:
    """Channels last: a processor's convolutions are faster."""
    return network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def train(adversaries: Adversaries, images: Tensor, *, epochs: int, folder: Path) -> None:
    """Passes over the images, in an order and with noise that the epoch's number settles."""
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.pt"
    if last.exists():
        adversaries.restore(torch.load(last, weights_only=True))
    steps = len(images) // BATCH
    for epoch in range(adversaries.epoch, epochs):
        began, total = time.perf_counter(), torch.zeros(2)
        g = torch.Generator().manual_seed(SEED * 10_000 + epoch)
        order = torch.randperm(len(images), generator=g)
        for rows in order[: steps * BATCH].split(BATCH):
            total += torch.tensor(adversaries.step(images[rows], g))
        adversaries.epoch = epoch + 1
        adversaries.seconds += time.perf_counter() - began
        beside = last.with_suffix(".part")
        torch.save(adversaries.state(), beside)
        beside.replace(last)
        told, deceit = (total / steps).tolist()
        print(f"epoch {epoch + 1}/{epochs}  discriminator {told:.3f}  generator {deceit:.3f}  "
              f"{adversaries.seconds:.0f} s", flush=True)  # fmt: skip


@torch.no_grad()
def measure(network: nn.Module, real: Tensor) -> dict[str, Any]:
    """What ``zoo:digits`` says of images of the network, beside as many real ones."""
    judge = sources.load("zoo:digits")
    network.eval()
    g = torch.Generator().manual_seed(SEED)
    images = [network(torch.randn(250, NOISE, generator=g)) for _ in range(len(real) // 250)]
    share = torch.cat([judge(x) for x in images]).softmax(1)  # (count, 10)
    shown, known = (
        torch.cat([judge.features(x) for x in batches])  # pyright: ignore
        for batches in (images, real.split(250))
    )
    precision, recall = precision_recall(shown, known)
    return {
        "fid": round(frechet(shown, known), 3),
        "precision": round(precision, 4), "recall": round(recall, 4),
        "coverage": round(density_coverage(shown, known)[1], 4),
        "confidence": round(share.amax(1).mean().item(), 4),
        "sure": round((share.amax(1) > 0.9).float().mean().item(), 4),
        "classes": [round(s, 4) for s in
                    (share.argmax(1).bincount(minlength=10) / len(share)).tolist()],
    }  # fmt: skip


CARD = """# digits-gan

Small generator of handwritten digits: 64 numbers, standard normal, to 28 x 28 grey images in
[0, 1], light on dark. It knows no classes.{status}

- **Architecture**: a linear layer and two transposed convolutions with batch-norms, after DCGAN
  (Radford, Metz, Chintala, 2015, arXiv 1511.06434), smaller; {parameters:,} weights, kept in
  float16.
- **Data**: MNIST (LeCun, Bottou, Bengio, Haffner, 1998): {train:,} training digits, without their
  labels, cut by the task `mnist`; nothing of its test digits.
- **Split**: the validation and test digits of the task were not trained on.
- **Training**: `zoo/train_digits_gan.py`, seed {seed}, {epochs} epochs of Adam; hinge loss against
  three convolutions under spectral norm (Miyato, Kataoka, Koyama, Yoshida, 2018,
  arXiv 1802.05957); moving average of the generator's weights; the last epoch is kept, nothing is
  chosen; {minutes:.0f} minutes on a shared core.
- **Accuracy**: none, as it says no classes. By {measured:,} images of these rounded weights beside
  the {measured:,} test digits, in the features of `zoo:digits`: Frechet distance {fid}
  (two halves of the real digits: {floor}), precision {precision:.1%}, recall {recall:.1%},
  coverage {coverage:.1%}. `zoo:digits` reads {sure:.1%} of the images with a probability above 0.9;
  as 0 to 9: {shares}.
- **Known limits**: some images lie between digits; distances in one judge's features do not
  compare with those in another's.
- **Licence**: Apache-2.0 for the weights; the images are not part of this project.
"""


def export(adversaries: Adversaries, data: dict[str, tuple[Tensor, Tensor]],
           options: argparse.Namespace) -> None:  # fmt: skip
    """Rounds the averaged generator to half precision, measures that, and writes it with a card."""
    state = {
        key: value.half().contiguous()
        for key, value in adversaries.averaged.module.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    network = DigitsGenerator(**SHAPE)
    network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    measured = measure(network, data["test"][0][:MEASURED])
    judge = sources.load("zoo:digits")
    halves = torch.cat([judge.features(x) for x in data["test"][0].split(250)])  # pyright: ignore
    status = " **Provisional: training goes on.**" if options.provisional else ""
    text = CARD.format(
        status=status, seed=SEED, epochs=adversaries.epoch, minutes=adversaries.seconds / 60,
        parameters=sum(p.numel() for p in network.parameters()), train=len(data["train"][1]),
        floor=round(frechet(halves[::2], halves[1::2]), 3),
        shares=", ".join(f"{s:.1%}" for s in measured["classes"]),
        **measured | {"measured": MEASURED},
    )  # fmt: skip
    settings = {
        "architecture": "DigitsGenerator", **SHAPE, "seed": SEED,
        "epochs": adversaries.epoch, "measured": measured,
    }  # fmt: skip
    options.export.mkdir(parents=True, exist_ok=True)
    stem = options.export / "digits-gan"
    save_file(state, stem.with_suffix(".safetensors"))
    stem.with_suffix(".safetensors").chmod(0o644)
    stem.with_suffix(".json").write_text(json.dumps(settings, indent=1) + "\n")
    stem.with_suffix(".md").write_text(text)
    print(measured)


def main() -> None:
    """Trains, measures once beside the test digits, exports."""
    options = arguments(__doc__, "digits-gan", epochs=10)
    data = load(options)
    images = data["train"][0]
    adversaries = Adversaries(DigitsGenerator(**SHAPE), options.epochs * (len(images) // BATCH))
    if options.provisional:
        adversaries.restore(torch.load(options.work / "last.pt", weights_only=True))
    else:
        train(adversaries, images, epochs=options.epochs, folder=options.work)
    export(adversaries, data, options)


if __name__ == "__main__":
    main()
