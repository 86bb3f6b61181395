"""What the scripts of the automata share: a resumable loop with a pool, and the export."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from loop import SEED, _save, arguments
from safetensors.torch import save_file
from torch import Tensor

from reprogram.sources.automata.cells import Cell

Pool = dict[str, Tensor]  # what is kept from step to step, by name


def options(doc: str | None, name: str, *, steps: int) -> argparse.Namespace:
    """The options of such a script; ``--epochs`` counts optimiser steps."""
    found = arguments(doc, name, epochs=steps)
    found.steps = found.epochs
    return found


def train(
    cell: Cell,
    pool: Pool,
    step: Callable[[Cell, Pool], Tensor],
    *,
    steps: int,
    rate: float,
    falls: tuple[float, ...],
    folder: Path,
    every: int = 200,
) -> dict[str, float]:
    """Trains by Adam with the gradient of every weight tensor brought to length 1.

    ``folder`` holds ``last.pt``, from which an interrupted run goes on; the number of a step
    settles every draw in it, so an interrupted run ends at the weights of one that was not. A
    finished run goes on where more steps are asked for.

    Arguments:
        cell: Trained in place.
        pool: Changed in place.
        step: Takes a batch out of the pool, puts it back, returns the loss.
        steps: Of the optimiser.
        rate: Its first learning rate.
        falls: Shares of the steps after which the rate falls to a tenth.
        folder: For the checkpoint.
        every: Steps between two checkpoints.

    Returns:
        Steps, seconds of this process's processor and the mean loss of the last steps.
    """
    optimizer = torch.optim.Adam(cell.parameters(), lr=rate)
    last, start, seconds, mean = folder / "last.pt", 0, 0.0, 0.0
    folder.mkdir(parents=True, exist_ok=True)
    if last.exists():
        state = torch.load(last, weights_only=True)
        cell.load_state_dict(state["cell"])
        optimizer.load_state_dict(state["optimizer"])
        pool.update(state["pool"])
        start, seconds, mean = state["step"], state["seconds"], state["loss"]
    began, losses = time.process_time(), []
    for number in range(start, steps):
        torch.manual_seed(SEED * 10_000_000 + number)
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.1 ** sum(number >= share * steps for share in falls)
        loss = step(cell, pool)
        optimizer.zero_grad()
        loss.backward()
        for p in cell.parameters():
            if p.grad is not None:
                p.grad /= p.grad.norm() + 1e-8
        optimizer.step()
        losses.append(loss.item())
        if (number + 1) % every == 0 or number + 1 == steps:
            seconds, began = seconds + time.process_time() - began, time.process_time()
            mean, losses = sum(losses) / len(losses), []
            told = {"step": number + 1, "seconds": seconds, "loss": mean}
            state = {"cell": cell.state_dict(), "optimizer": optimizer.state_dict()}
            _save({**state, "pool": pool, **told}, last)
            print(f"step {number + 1}/{steps}  loss {mean:.4f}  {seconds:.0f} s", flush=True)
    return {"step": max(start, steps), "seconds": seconds, "loss": mean}


def reached(cell: Cell, folder: Path) -> dict[str, float]:
    """The weights of the checkpoint, and how far it is."""
    state = torch.load(folder / "last.pt", weights_only=True)
    cell.load_state_dict(state["cell"])
    return {key: state[key] for key in ("step", "seconds", "loss")}


def rounded(cell: Cell) -> dict[str, Tensor]:
    """The weights in half precision; the cell has them from now on: what is measured ships."""
    state = {key: value.half() for key, value in cell.state_dict().items()}
    cell.load_state_dict({key: value.float() for key, value in state.items()})
    return state


def export(
    folder: Path, name: str, state: dict[str, Tensor], settings: dict[str, object], card: str
) -> None:
    """Weights, settings and card of a source."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{name}.safetensors"
    save_file({key: value.contiguous() for key, value in state.items()}, weights)
    weights.chmod(0o644)
    (folder / f"{name}.json").write_text(json.dumps(settings, indent=1) + "\n")
    (folder / f"{name}.md").write_text(card)
