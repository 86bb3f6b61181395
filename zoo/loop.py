"""What the training scripts share: a resumable loop, and the export of weights with a card."""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

SEED = 0
Batches = Callable[[int], Iterable[tuple[Tensor, Tensor]]]  # epoch -> (input, soft labels)


def train(
    network: nn.Module,
    batches: Batches,
    validation: tuple[Tensor, Tensor],
    *,
    epochs: int,
    steps: int,
    rate: float,
    decay: float,
    folder: Path,
    average: float = 0.995,
    warm_up: float = 0.1,
    bfloat16: bool = True,
) -> dict[str, float]:
    """Trains by AdamW under one cosine cycle; keeps the epoch best on validation.

    A moving average of the weights is what is validated and kept. ``folder`` holds ``last.pt``,
    from which an interrupted run goes on, and ``best.pt``.

    Arguments:
        network: Trained in place.
        batches: The augmented batches of an epoch; its number must settle every random draw.
        validation: Inputs and labels.
        epochs: Passes over the training data.
        steps: Batches in an epoch.
        rate: The highest learning rate.
        decay: Weight decay.
        folder: For checkpoints.
        average: Of the moving average, per step.
        warm_up: Fraction of the steps in which the rate rises.
        bfloat16: Whether matrix products run in bfloat16 (faster on CPUs that have it).

    Returns:
        The epoch kept, its validation accuracy and loss, and the seconds spent.
    """
    weights = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=epochs * steps, pct_start=warm_up
    )
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(average), use_buffers=True)
    start, seconds = 0, 0.0
    best = {"accuracy": 0.0, "loss": math.inf, "epoch": -1.0}
    folder.mkdir(parents=True, exist_ok=True)
    last = folder / "last.pt"
    if last.exists():
        state = torch.load(last, weights_only=True)
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        # The rest of the cycle is that of the epochs asked for now.
        cycle = {key: schedule.state_dict()[key] for key in ("total_steps", "_schedule_phases")}
        schedule.load_state_dict({**state["schedule"], **cycle})
        start, seconds, best = state["epoch"], state["seconds"], state["best"]
    for epoch in range(start, epochs):
        began, total = time.perf_counter(), 0.0
        network.train()
        for x, labels in batches(epoch):
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                logits = network(x)
            loss = nn.functional.cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(weights, 5.0)
            optimizer.step()
            schedule.step()
            averaged.update_parameters(network)
            total += loss.item()
        accuracy, held_out = evaluate(averaged.module, *validation)
        seconds += time.perf_counter() - began
        if (accuracy, -held_out) > (best["accuracy"], -best["loss"]):
            best = {"accuracy": accuracy, "loss": held_out, "epoch": float(epoch)}
            _save(averaged.module.state_dict(), folder / "best.pt")
        _save(
            {
                "network": network.state_dict(), "averaged": averaged.state_dict(),
                "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
                "epoch": epoch + 1, "seconds": seconds, "best": best,
            },
            last,
        )  # fmt: skip
        print(
            f"epoch {epoch + 1}/{epochs}  loss {total / steps:.3f}  validation {accuracy:.4f} "
            f"({held_out:.3f})  best {best['accuracy']:.4f}  {seconds:.0f} s",
            flush=True,
        )
    return {**best, "seconds": seconds}


@torch.no_grad()
def evaluate(network: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    """Accuracy and cross-entropy, in evaluation mode and full precision."""
    network.eval()
    logits = torch.cat([network(x) for x in inputs.split(128)])
    loss = nn.functional.cross_entropy(logits, labels).item()
    return (logits.argmax(1) == labels).float().mean().item(), loss


def arguments(doc: str | None, name: str, *, epochs: int) -> argparse.Namespace:
    """The options of a training script, with one thread and a seed already set."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("REPROGRAM_DATA"))
    parser.add_argument("--work", type=Path, default=Path("runs") / f"zoo-{name}")
    parser.add_argument("--export", type=Path, default=Path("src/reprogram/zoo"))
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--provisional", action="store_true", help="export best so far, unmeasured")
    options = parser.parse_args()
    if options.data is None:
        parser.error("give the data folder, or set REPROGRAM_DATA")
    options.data = Path(options.data)
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    return options


def produce(
    name: str,
    network: nn.Module,
    batches: Batches,
    held_out: dict[str, tuple[Tensor, Tensor]],
    options: argparse.Namespace,
    *,
    steps: int,
    rate: float,
    decay: float,
    settings: dict[str, object],
    card: str,
    facts: dict[str, object],
    bfloat16: bool = True,
) -> None:
    """Trains, rounds the best epoch to half precision, reads the test split once, exports.

    Arguments:
        name: Of the source.
        network: Untrained.
        batches: See :func:`train`.
        held_out: ``validation`` and ``test``: what enters the network, and labels.
        options: Of :func:`arguments`.
        steps: Batches in an epoch.
        rate: The highest learning rate.
        decay: Weight decay.
        settings: What the loader needs; accuracies are added.
        card: Template of the model card.
        facts: What fills it beside what is measured here.
        bfloat16: See :func:`train`.
    """
    if options.provisional:
        state = torch.load(options.work / "last.pt", weights_only=True)
        best = {**state["best"], "seconds": state["seconds"]}
    else:
        best = train(
            network, batches, held_out["validation"], epochs=options.epochs, steps=steps,
            rate=rate, decay=decay, folder=options.work, bfloat16=bfloat16,
        )  # fmt: skip
    network.load_state_dict(torch.load(options.work / "best.pt", weights_only=True))
    state = {
        key: value.half() if value.is_floating_point() else value
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked") and "bias_hh" not in key  # always zero
    }
    # What is measured is what ships: the rounded weights.
    network.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    read = ["validation"] if options.provisional else ["validation", "test"]
    measured = {split: evaluate(network, *held_out[split]) for split in read}
    accuracy = {split: round(share, 4) for split, (share, _) in measured.items()}
    told = {split: f"{accuracy[split]:.1%}" if split in accuracy else "not read yet"
            for split in held_out}  # fmt: skip
    status = " **Provisional: training goes on.**" if options.provisional else ""
    text = card.format(
        status=status, seed=SEED, epochs=options.epochs, epoch=int(best["epoch"]) + 1,
        minutes=best["seconds"] / 60, accuracy=told,
        perplexity={split: math.exp(loss) for split, (_, loss) in measured.items()}, **facts,
    )  # fmt: skip
    settings = {**settings, "seed": SEED, "epoch": int(best["epoch"]) + 1, "accuracy": accuracy}
    options.export.mkdir(parents=True, exist_ok=True)
    stem = options.export / name
    save_file({k: v.contiguous() for k, v in state.items()}, stem.with_suffix(".safetensors"))
    stem.with_suffix(".safetensors").chmod(0o644)
    stem.with_suffix(".json").write_text(json.dumps(settings, indent=1) + "\n")
    stem.with_suffix(".md").write_text(text)
    print(accuracy)


def _save(state: object, path: Path) -> None:
    """Whole or not at all: a killed run must find a checkpoint that reads."""
    beside = path.with_suffix(".part")
    torch.save(state, beside)
    beside.replace(path)
