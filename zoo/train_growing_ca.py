"""Train ``zoo:growing-ca``: one cell grows into a gecko, and heals.

    python zoo/train_growing_ca.py [--work runs/zoo-growing-ca] [--export src/reprogram/zoo]
        [--epochs 2000] [--provisional]

The picture is drawn by ``zoo/draw_pictures.py``; no data is needed. ``--epochs`` are steps of the
optimiser. ``--provisional`` exports what the checkpoint holds.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from automata import Pool, export, options, reached, rounded, train
from loop import SEED
from torch import Tensor, nn

from reprogram.sources.automata import GrowingCell, Rollout
from reprogram.sources.automata.cells import Cell
from reprogram.tasks.grow import read_picture
from reprogram.types import Cells

PICTURE, SIDE, PAD = "gecko", 24, 4
GRID = SIDE + 2 * PAD
POOL, BATCH, DAMAGED = 256, 8, 3
STEPS = (48, 65)  # drawn anew for each batch, below the second
MEASURED = (64, 200, 1000)  # steps after which the distance to the picture is read
RUNS = 8  # of a measurement

CARD = """# growing-ca

One cell that grows into a gecko of 24 x 24 pixels, and heals.{status}

- **Architecture**: growing neural cellular automaton (Mordvintsev, Randazzo, Niklasson, Levin,
  2020, Distill): 16 values a cell, its own and their slopes, two layers; {parameters:,} weights,
  kept in float16.
- **State**: red, green, blue (times alpha), alpha, 12 hidden values; a grid of {grid} x {grid}.
- **Data**: a picture of our own, drawn by `zoo/draw_pictures.py`.
- **Training**: `zoo/train_growing_ca.py`, seed {seed}: {steps:,} steps of Adam (the article:
  8,000) on batches of {batch} runs of {low} to {high} steps out of a pool of {pool}; the worst
  begins anew, the best {damaged} lose a circle; mean squared error, the gradient of each weight
  tensor brought to length 1; rate 0.002, a tenth of it after half of the steps; {minutes:.0f}
  minutes of a core.
- **Mean squared error** of these rounded weights to the picture, {runs} runs; an empty grid has
  {empty:.5f}: {error}; {healed:.5f} where a circle was erased after 200 steps and 200 followed.
- **Known limits**: fewer steps than the article's; a source to borrow.
- **Licence**: Apache-2.0, the picture too.
"""


def circles(count: int) -> Tensor:
    """(count, 1, grid, grid): 0 in a circle at random, else 1."""
    places = torch.linspace(-1, 1, GRID)
    middle = torch.rand(2, count, 1, 1) - 0.5
    radius = torch.rand(count, 1, 1) * 0.3 + 0.1
    far = (places - middle[0]).square() + (places[:, None] - middle[1]).square()
    return (far > radius.square()).float()[:, None]


def distance(state: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each state's picture."""
    return (state[:, :4] - target).square().mean((1, 2, 3))


class Step:
    """A batch of the pool, its worst begun anew, its best damaged."""

    def __init__(self, target: Tensor) -> None:
        self.target = target

    def __call__(self, cell: Cell, pool: Pool) -> Tensor:
        assert isinstance(cell, GrowingCell)
        rows = torch.randperm(POOL)[:BATCH]
        rows = rows[distance(pool["state"][rows], self.target).argsort(descending=True)]
        state = pool["state"][rows]
        state[:1] = cell.seed(GRID, GRID)
        state[-DAMAGED:] *= circles(DAMAGED)
        end = Rollout(cell, int(torch.randint(*STEPS, ())))(state)
        pool["state"][rows] = end.detach()
        return distance(end, self.target).mean()


@torch.no_grad()
def measure(cell: GrowingCell, target: Tensor) -> dict[str, float]:
    """Distance to the picture by steps from the seed, and after healing."""
    torch.manual_seed(SEED)
    found: dict[str, float] = {}
    grown = seed = cell.seed(GRID, GRID).expand(RUNS, -1, -1, -1)
    for number, state in enumerate(Rollout(cell, max(MEASURED)).run(seed)):
        grown = state if number == 200 else grown
        if number in MEASURED:
            found[f"mse@{number}"] = distance(state, target).mean().item()
    healed = Rollout(cell, 200)(Cells(grown * circles(RUNS)))
    return {**found, "healed": distance(healed, target).mean().item()}


def main() -> None:
    """Trains, measures, exports."""
    os.environ.setdefault("REPROGRAM_DATA", "")
    asked = options(__doc__, "growing-ca", steps=2_000)
    target = nn.functional.pad(read_picture(PICTURE, SIDE), (PAD, PAD, PAD, PAD))
    cell = GrowingCell()
    cell.reset(torch.Generator().manual_seed(SEED))
    if asked.provisional:
        told = reached(cell, asked.work)
    else:
        pool = {"state": cell.seed(GRID, GRID).repeat(POOL, 1, 1, 1)}
        told = train(
            cell, pool, Step(target), steps=asked.steps, rate=2e-3, falls=(0.5,),
            folder=Path(asked.work), every=100,
        )  # fmt: skip
    weights = rounded(cell)
    measured = {key: round(value, 6) for key, value in measure(cell, target).items()}
    card = CARD.format(
        status=" **Provisional: training goes on.**" if asked.provisional else "",
        parameters=sum(p.numel() for p in cell.parameters()), grid=GRID, seed=SEED,
        steps=int(told["step"]), batch=BATCH, low=STEPS[0], high=STEPS[1] - 1, pool=POOL,
        damaged=DAMAGED, minutes=told["seconds"] / 60, runs=RUNS,
        empty=target.square().mean().item(), healed=measured["healed"],
        error=", ".join(f"{measured[f'mse@{n}']:.5f} after {n} steps" for n in MEASURED),
    )  # fmt: skip
    settings = {
        "architecture": "GrowingCell", "steps": STEPS[1] - 1, "shape": [GRID, GRID], "seed": SEED,
        "picture": PICTURE, "trained": int(told["step"]), "measured": measured,
    }  # fmt: skip
    export(asked.export, "growing-ca", weights, settings, card)
    print(measured)


if __name__ == "__main__":
    main()
