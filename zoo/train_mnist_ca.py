"""Train ``zoo:mnist-ca``: the cells of a digit agree which digit they are.

    python zoo/train_mnist_ca.py [DATA] [--work runs/zoo/mnist-ca] [--export src/reprogram/zoo]
        [--epochs 6000] [--provisional]

DATA holds ``mnist/`` (see the task ``mnist``). ``--epochs`` are steps of the optimiser.
``--provisional`` exports what the checkpoint holds, measured on validation only.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from automata import Pool, export, options, reached, rounded, train
from loop import SEED
from torch import Tensor, nn

from reprogram.sources.automata import DigitCell, Rollout
from reprogram.sources.automata.cells import Cell
from reprogram.tasks.mnist import load_mnist
from reprogram.types import Cells

POOL, BATCH, STEPS = 160, 16, 20
QUARTER = BATCH // 4
MEASURED = (20, 100, 200)  # steps after which the accuracy is read
DIGITS = 1000  # of each split that is measured

CARD = """# mnist-ca

Cells of a grey 28 x 28 digit that agree which digit they are.{status}

- **Architecture**: self-classifying MNIST digits (Randazzo, Mordvintsev, Niklasson, Levin,
  Greydanus, 2020, Distill): 20 values a cell, 3 x 3 convolution and two layers;
  {parameters:,} weights, kept in float16.
- **State**: grey value, 9 hidden values, a score for each of the classes 0 to 9; cells with a grey
  value above 0.1 are alive, half of them fire in a step.
- **Data**: MNIST (LeCun, Bottou, Bengio, Haffner, 1998), the published split; free to use with
  citation.
- **Split**: {train:,} training, {validation:,} validation; figures below are of the first
  {digits:,} of validation and test.
- **Training**: `zoo/train_mnist_ca.py`, seed {seed}: {steps:,} steps of Adam (the article: 100,000)
  on batches of {batch} runs of {run} steps out of a pool of {pool}, a quarter new and a quarter
  with the digit changed under the old state; squared error, the gradient of each weight tensor
  brought to length 1; rate 0.002, a tenth of it after 70 % and a hundredth after 90 % of the steps;
  {minutes:.0f} minutes of a core.
- **Accuracy** of these rounded weights over living cells, and in brackets the digits whose cells
  all agree: validation {accuracy[validation]}; test {accuracy[test]}.
- **Known limits**: far fewer steps than the article's; a source to borrow, no reader of digits.
- **Licence**: Apache-2.0 for the weights; the digits are not part of this project.
"""


def new(cell: DigitCell, data: tuple[Tensor, Tensor], count: int) -> tuple[Tensor, Tensor]:
    """States and classes of digits drawn at random."""
    images, labels = data
    rows = torch.randint(len(labels), (count,))
    return cell.initial(images[rows].float() / 255), labels[rows]


class Step:
    """A batch of the pool, a quarter of it new, a quarter with another digit under its state."""

    def __init__(self, data: tuple[Tensor, Tensor]) -> None:
        self.data = data

    def __call__(self, cell: Cell, pool: Pool) -> Tensor:
        assert isinstance(cell, DigitCell)
        rows = torch.randperm(POOL)[:BATCH]
        state, labels = pool["state"][rows], pool["labels"][rows]
        state[:QUARTER], labels[:QUARTER] = new(cell, self.data, QUARTER)
        fresh, labels[-QUARTER:] = new(cell, self.data, QUARTER)
        state[-QUARTER:, 1:] *= cell.living(fresh)
        state[-QUARTER:, :1] = fresh[:, :1]
        wanted = nn.functional.one_hot(labels, cell.classes).float()[:, :, None, None]
        end = Rollout(cell, STEPS)(state)
        error = (end[:, -cell.classes :] - wanted) * cell.living(end)
        pool["state"][rows], pool["labels"][rows] = end.detach(), labels
        return error.square().sum() / 2 / BATCH


@torch.no_grad()
def measure(cell: DigitCell, images: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy of the living cells and share of digits whose cells agree, by steps."""
    torch.manual_seed(SEED)
    found: dict[str, list[Tensor]] = {}
    for x, y in zip(images.split(100), labels.split(100), strict=True):
        states = Rollout(cell, max(MEASURED)).run(Cells(cell.initial(x.float() / 255)))
        for number, state in enumerate(states):
            if number in MEASURED:
                alive, said = cell.living(state)[:, 0], state[:, -cell.classes :].argmax(1)
                right = ((said == y[:, None, None]) & alive).flatten(1).sum(1)
                votes = nn.functional.one_hot(said, cell.classes) * alive[..., None]
                agreed = votes.flatten(1, 2).sum(1).amax(1) == alive.flatten(1).sum(1)
                found.setdefault(f"right@{number}", []).append(right)
                found.setdefault(f"cells@{number}", []).append(alive.flatten(1).sum(1))
                found.setdefault(f"agreed@{number}", []).append(agreed)
    sums = {key: float(torch.cat(values).sum()) for key, values in found.items()}
    told = {}
    for number in MEASURED:
        told[f"accuracy@{number}"] = sums[f"right@{number}"] / sums[f"cells@{number}"]
        told[f"agreement@{number}"] = sums[f"agreed@{number}"] / len(labels)
    return {key: round(value, 4) for key, value in told.items()}


def main() -> None:
    """Trains, measures once on test, exports."""
    asked = options(__doc__, "mnist-ca", steps=6_000)
    os.environ.setdefault("REPROGRAM_DATA", str(asked.data))
    task = load_mnist()
    data = {}
    for split in ("train", "validation", "test"):
        part = getattr(task, split)
        data[split] = (part.inputs, part.targets)
    cell = DigitCell()
    cell.reset(torch.Generator().manual_seed(SEED))
    if asked.provisional:
        told = reached(cell, asked.work)
    else:
        state, labels = new(cell, data["train"], POOL)
        pool = {"state": state, "labels": labels}
        told = train(
            cell, pool, Step(data["train"]), steps=asked.steps, rate=2e-3,
            falls=(0.7, 0.9),
            folder=Path(asked.work),
        )  # fmt: skip
    weights = rounded(cell)
    read = ("validation",) if asked.provisional else ("validation", "test")
    measured = {s: measure(cell, *(part[:DIGITS] for part in data[s])) for s in read}
    text = {
        split: ", ".join(
            f"{found[f'accuracy@{n}']:.1%} ({found[f'agreement@{n}']:.1%}) after {n} steps"
            for n in MEASURED
        )
        for split, found in measured.items()
    }
    card = CARD.format(
        status=" **Provisional: training goes on.**" if asked.provisional else "",
        parameters=sum(p.numel() for p in cell.parameters()), digits=DIGITS, seed=SEED,
        steps=int(told["step"]), batch=BATCH, run=STEPS, pool=POOL, minutes=told["seconds"] / 60,
        accuracy={"test": "not read yet", **text}, train=len(data["train"][1]),
        validation=len(data["validation"][1]),
    )  # fmt: skip
    settings = {
        "architecture": "DigitCell", "classes": list("0123456789"), "steps": STEPS,
        "shape": [28, 28], "seed": SEED, "trained": int(told["step"]), "measured": measured,
    }  # fmt: skip
    export(asked.export, "mnist-ca", weights, settings, card)
    print(measured)


if __name__ == "__main__":
    main()
