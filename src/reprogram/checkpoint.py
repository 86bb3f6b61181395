"""A run between two steps, on disk: whole or not at all, and never taken for another run's."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from reprogram import parts
from reprogram.files import atomic_write
from reprogram.record import CHECKPOINT, RECORD
from reprogram.types import UserError

if TYPE_CHECKING:
    from reprogram.tasks.base import Task
    from reprogram.train import Training


def signature(training: Training, task: Task, fingerprint: str) -> str:
    """What a checkpoint must share with the run that goes on from it.

    Arguments:
        training: Bound, before its first step: an optimiser may count.
        task: With its splits.
        fingerprint: The source's.
    """
    optimizer = training.optimizer
    return json.dumps(
        [training.recipe, training.parameters, training.seed, training.epochs,
         training.batch_size, task.spec.json(), len(task.train), fingerprint,
         parts.describe(training.transformation), parts.describe(training.mapping),
         _plain(training.criterion), _plain(optimizer),
         _plain(getattr(optimizer, "torch_optimizer", None)), training.keep_best,
         training.queries, training.validations],
    )  # fmt: skip


def write(folder: Path, state: dict[str, Any]) -> None:
    """Put the state into ``folder``'s checkpoint."""
    whole = io.BytesIO()  # torch's own writer does not tell a full disk from a fault
    torch.save(state, whole)
    with atomic_write(folder / CHECKPOINT / "state.pt") as temporary:
        temporary.write_bytes(whole.getbuffer())


def read(folder: Path, signature: str) -> dict[str, Any] | None:
    """The state of ``folder``'s checkpoint; ``None`` without one.

    Arguments:
        folder: The run's.
        signature: Which run goes on; the checkpoint's own must be the same.

    Raises:
        UserError: if the file is damaged or another run's.
    """
    file = folder / CHECKPOINT / "state.pt"
    if not file.is_file():
        return None
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        found = state["signature"]
    except Exception:  # whatever a damaged archive makes torch raise
        raise UserError(f"checkpoint {file} is damaged; delete {folder} and fit anew") from None
    if found != signature:
        raise UserError(
            f"checkpoint {file} belongs to another run: recipe, parameters, task or source "
            "differ; resume with the same ones or choose another folder"
        )
    return state


def discard(folder: Path) -> None:
    """Remove ``folder``'s checkpoint, and the folder if nothing else is in it."""
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def finished(folder: Path, resume: bool) -> bool:
    """Whether the folder holds a finished run that may be returned as it is.

    Raises:
        UserError: if it holds anything else that must not be overwritten.
    """
    if (folder / RECORD).is_file():
        if resume:
            return True
        raise UserError(f"{folder} already holds a program; choose another folder for the run")
    if (folder / CHECKPOINT).is_dir():
        if resume:
            return False
        raise UserError(
            f"{folder} holds an unfinished run; continue it with --resume or choose another folder"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder; choose another one for the run")
    return False


def _plain(part: Any) -> list[Any]:
    """The name of a part and those of its attributes that are numbers or words."""
    settings = {**getattr(part, "__dict__", {}), **getattr(part, "defaults", {})}
    kept = {k: v for k, v in settings.items() if isinstance(v, str | int | float | None)}
    return [type(part).__name__, kept]
