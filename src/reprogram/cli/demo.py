"""``reprogram demo``."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reprogram.cli import options, runs
from reprogram.cli.exits import tell

if TYPE_CHECKING:
    from reprogram.tasks import Split

ORDER: dict[str, Any] = {
    "recipe": "series-to-features",
    "source": "zoo:speech-commands",
    "task": "ucr:GunPoint",
}
SAMPLES = "sample.csv"
SHOWN = 10  # test series in it


def demo(
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run directory.", show_default="runs/demo"),
    ] = None,
    seed: options.Seed = None,
    as_json: options.Json = False,
    debug: options.Debug = False,
) -> None:
    """A speech model learns to tell two motions apart, beside controls; minutes on a laptop.

    The embedded zoo:speech-commands stays as it is; what is trained around it for ucr:GunPoint
    (a hand that draws a gun, or points) is a program of kilobytes.
    """
    del debug
    import torch

    from reprogram.cli.running import Order, carry_out, summary

    place = out or runs.fresh(Path("runs/demo"))
    order = Order(**ORDER, controls=True, numbers={"seed": seed or 0})
    tell(f"{order.source} learns {order.task} by {order.recipe}; controls follow")
    torch.set_num_threads(1)  # batches are small: on a busy machine threads wait for one another
    done = carry_out(order, place)
    if done.task.test is not None:
        _write_samples(done.task.test, done.program.task.classes, place / SAMPLES)
    if as_json:
        print(json.dumps(done.metrics))
        return
    print(summary(done, runs.command("predict", place, place / SAMPLES)))


def _write_samples(split: Split, classes: tuple[str, ...], path: Path) -> None:
    """The first series of a split as a table that ``predict`` reads."""
    import torch

    from reprogram.files import atomic_write

    inputs, targets, _ = split.batch(torch.arange(min(SHOWN, len(split))))
    with atomic_write(path) as temporary, temporary.open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["id", "label", *(f"t{i}" for i in range(inputs.shape[-1]))])
        for row, series, target in zip(split.rows, inputs[:, 0].tolist(), targets, strict=False):
            table.writerow([row, classes[int(target)], *series])
