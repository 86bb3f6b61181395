"""The one loop: white box and black box, first run and resumed run alike."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reprogram import checkpoint, parts
from reprogram.criteria import Criterion, CrossEntropy
from reprogram.evaluation import Prepared, measure
from reprogram.files import atomic_write
from reprogram.mappings import Mapping
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.optim import Optimizer
from reprogram.program import Program
from reprogram.record import CHECKPOINT
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.transformations import Transformation
from reprogram.types import TaskSpec, UserError


@dataclass
class Training:
    """Everything :func:`fit` needs besides the task: what a recipe returns.

    Arguments:
        source: Frozen.
        transformation: Not yet bound.
        mapping: Not yet bound.
        optimizer: Not yet bound.
        epochs: Passes over the training split, >= 1.
        batch_size: Samples in a step, >= 1.
        criterion: One loss a sample.
        seed: Of the order of samples and of every random draw.
        device: Where to compute, as torch names it.
        keep_best: Whether the epoch of the lowest validation loss is kept, rather than the last.
        recipe: Name of the recipe.
        parameters: Every parameter of the recipe.
    """

    source: Source
    transformation: Transformation
    mapping: Mapping
    optimizer: Optimizer
    epochs: int
    batch_size: int
    criterion: Criterion = field(default_factory=CrossEntropy)
    seed: int = 0
    device: str = "cpu"
    keep_best: bool = True
    recipe: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"argument {name!r} is {getattr(self, name)}; give 1 or more")
        try:
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"argument 'device' is {self.device!r}: {reason}") from None
        if self.optimizer.gradient and not self.source.gradient:
            raise UserError(
                f"{type(self.optimizer).__name__} needs a gradient, and source "
                f"{self.source.uri or 'given'} lets none pass; use SPSA or CMAES"
            )

    def bind(self, spec: TaskSpec) -> None:
        """Bind transformation, mapping and criterion, and move everything to the device."""
        for part in (self.transformation, self.mapping, self.criterion):
            part.bind(self.source, spec)
        for part in (self.source, self.transformation, self.mapping, self.criterion):
            part.to(self.device)

    def program(self, spec: TaskSpec) -> Program:
        """The program made of the parts as they are now."""
        return Program(
            source=self.source,
            transformation=self.transformation,
            mapping=self.mapping,
            task=spec,
            recipe=self.recipe,
            parameters=self.parameters,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Progress:
    """What :func:`fit` tells after each step."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    validation: dict[str, float]


def fit(
    training: Training,
    task: Task,
    out: str | Path | None = None,
    resume: bool = False,
    *,
    progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = 10.0,
    beside: dict[str, str] | None = None,
) -> Program:
    """Train transformation and mapping; the source is never touched.

    With a validation split the epoch of its lowest loss is kept; without one (too few rows) the
    last. Test is read once, at the end.

    Arguments:
        training: What a recipe composed.
        task: With its splits.
        out: Run directory: the program, ``metrics.json``, ``history.csv``, and ``checkpoint/``
            while running. Nothing is written if absent.
        resume: Go on from ``out``'s checkpoint, to the same result as an unbroken run.
        progress: Called after each step.
        checkpoint_seconds: Time between checkpoints.
        beside: Further text files for the run directory, by name; in ``checkpoint/`` at first.

    Raises:
        UserError: if the task does not fit, the parts or ``out`` already holds a run.
    """
    folder = Path(out) if out is not None else None
    if folder is not None and checkpoint.finished(folder, resume):
        program = Program.load(folder, training.source, device=training.device)
        if (program.recipe, program.parameters) != (training.recipe, training.parameters):
            raise UserError(
                f"{folder} holds a finished run of other parameters; choose another folder"
            )
        return program
    training.bind(task.spec)
    loop = _Loop(training, task)
    if folder is not None and resume:
        loop.restore(folder)
    if folder is not None:
        for name, text in (beside or {}).items():
            with atomic_write(folder / CHECKPOINT / name) as temporary:
                temporary.write_text(text)
    try:
        loop.begin()
    except UserError:  # a map wants what is not there: leave nothing of a run that never began
        if folder is not None and loop.step == 0:
            checkpoint.discard(folder)
        raise
    saved = time.monotonic()
    while loop.step < loop.steps:
        report = loop.advance()
        if folder is not None and time.monotonic() - saved >= checkpoint_seconds:
            loop.save(folder)
            saved = time.monotonic()
        if progress is not None:
            progress(report)
    program = loop.finish()
    if folder is not None:
        own = {"metrics.json": json.dumps(program.metrics, indent=1), "history.csv": loop.csv()}
        program.save(folder, beside={**(beside or {}), **own})
    return program


class _Loop:
    """The state of a run between two steps."""

    def __init__(self, training: Training, task: Task) -> None:
        self.training, self.task = training, task
        self.model = Reprogrammed(training.source, training.transformation, training.mapping)
        self.program = training.program(task.spec)
        self.train = Prepared(training.transformation, task.train, training.device)
        self.validation = None
        if task.validation is not None:
            self.validation = Prepared(training.transformation, task.validation, training.device)
        self.per_epoch = math.ceil(len(task.train) / training.batch_size)
        self.steps = self.per_epoch * training.epochs
        training.optimizer.bind(training.transformation, training.mapping, self.steps)
        self.fingerprint = training.source.fingerprint()
        self.step, self.seconds, self.loss_sum, self.queries = 0, 0.0, 0.0, 0
        self.best, self.kept, self.begun = math.inf, {}, -1
        self.history: list[dict[str, float]] = []
        self.order: tuple[int, Tensor] = (-1, torch.empty(0))
        self.signature = self._signature()  # before the first step: an optimiser may count

    def advance(self) -> Progress:
        """One step, and the validation at an epoch's end."""
        began = time.monotonic()
        training = self.training
        epoch, place = divmod(self.step, self.per_epoch)
        if self.order[0] != epoch:
            generator = torch.Generator().manual_seed(hash((training.seed, epoch)) % 2**63)
            self.order = epoch, torch.randperm(len(self.train), generator=generator)
        index = self.order[1][place * training.batch_size :][: training.batch_size]
        self.begin()
        self.model.train()
        batch = self.train.batch(index)
        objective = BatchObjective(
            self.model, training.criterion, batch, seed=training.seed, step=self.step
        )
        loss = float(training.optimizer.step(objective))
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {self.step + 1}; give a smaller learning rate"
            )
        for part in (training.transformation, training.mapping, training.criterion):
            part.advance(self.step, self.steps)
        self.step += 1
        self.queries += training.optimizer.evaluations * len(index)
        self.loss_sum += loss
        if place + 1 == self.per_epoch:
            self._end_epoch(epoch)
        self.seconds += time.monotonic() - began
        validation = {k.removeprefix("validation_"): v for k, v in self.history[-1].items()
                      if k.startswith("validation_")} if self.history else {}  # fmt: skip
        return Progress(self.step, self.steps, epoch + 1, training.epochs, loss, validation)

    def begin(self) -> None:
        """Let the mapping refit where an epoch begins, once."""
        epoch, place = divmod(self.step, self.per_epoch)
        if place == 0 and self.begun != epoch < self.training.epochs:
            self.training.mapping.begin_epoch(epoch, self._one_pass)
            self.begun = epoch

    def _one_pass(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Outputs of the whole training split under the program as it is: a query a sample."""
        self.model.eval()
        for index in torch.arange(len(self.train)).split(self._eval_batch):
            x, target, weight = self.train.batch(index)
            self.queries += len(index)
            with torch.no_grad():
                output = self.model.source(self.training.transformation(x))
            yield output, target, weight

    def _end_epoch(self, epoch: int) -> None:
        row = {"epoch": epoch + 1, "loss": self.loss_sum / self.per_epoch}
        self.loss_sum = 0.0
        if self.validation is not None:
            measured = measure(self.model, self.validation, self._eval_batch)
            self.queries += len(self.validation)
            row |= {f"validation_{name}": value for name, value in measured.items()}
            if self.training.keep_best and measured["loss"] < self.best:
                self.best = measured["loss"]
                self.kept = {n: t.detach().cpu().clone() for n, t in self.program.tensors().items()}
        self.history.append(row)

    @property
    def _eval_batch(self) -> int:
        return max(64, self.training.batch_size)

    def finish(self) -> Program:
        """The kept epoch's program with its metrics."""
        program, task = self.program, self.task
        if self.kept:
            program.restore(self.kept, "kept in memory")
        splits = {"train": self.train, "validation": self.validation}
        if task.test is not None:
            splits["test"] = Prepared(self.training.transformation, task.test, self.training.device)
        metrics: dict[str, Any] = {}
        for name, prepared in splits.items():
            if prepared is not None:
                metrics[name] = measure(self.model, prepared, self._eval_batch)
                self.queries += len(prepared)
        metrics |= {
            "parameters": program.trained,
            "program_bytes": program.size,
            "seconds": round(self.seconds, 2),
            "queries": self.queries,
            "source_unchanged": self.training.source.fingerprint() == self.fingerprint,
        }
        program.metrics = metrics
        return program

    def csv(self) -> str:
        """The history, a row an epoch."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.history[-1]), restval="")
        writer.writeheader()
        writer.writerows(self.history)
        return text.getvalue()

    def _signature(self) -> str:
        """What a checkpoint must share with the run that goes on from it."""
        training, optimizer = self.training, self.training.optimizer
        return json.dumps(
            [training.recipe, training.parameters, training.seed, training.epochs,
             training.batch_size, self.task.spec.json(), len(self.task.train), self.fingerprint,
             parts.describe(training.transformation), parts.describe(training.mapping),
             _plain(training.criterion), _plain(optimizer),
             _plain(getattr(optimizer, "torch_optimizer", None)), training.keep_best],
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "signature": self.signature,
            "step": self.step,
            "seconds": self.seconds,
            "loss_sum": self.loss_sum,
            "queries": self.queries,
            "best": self.best,
            "kept": self.kept,
            "history": self.history,
            "tensors": {n: t.detach().cpu() for n, t in self.program.tensors().items()},
            "observed": {n: b.cpu() for n, b in self.training.mapping.named_buffers()},
            "criterion": self.training.criterion.state_dict(),
            "optimizer": self.training.optimizer.state_dict(),
        }
        checkpoint.write(folder, state)

    def restore(self, folder: Path) -> None:
        """Go back to where the checkpoint was written; without one, start."""
        state = checkpoint.read(folder, self.signature)
        if state is None:
            return
        self.step, self.seconds = state["step"], state["seconds"]
        self.loss_sum, self.queries = state["loss_sum"], state["queries"]
        self.best, self.kept, self.history = state["best"], state["kept"], state["history"]
        self.program.restore(state["tensors"], str(folder / CHECKPOINT))
        for name, buffer in self.training.mapping.named_buffers():
            buffer.copy_(state["observed"][name])
        self.training.criterion.load_state_dict(state["criterion"])
        self.training.optimizer.load_state_dict(state["optimizer"])


def _plain(part: Any) -> list[Any]:
    """The name of a part and those of its attributes that are numbers or words."""
    settings = {**getattr(part, "__dict__", {}), **getattr(part, "defaults", {})}
    kept = {k: v for k, v in settings.items() if isinstance(v, str | int | float | None)}
    return [type(part).__name__, kept]
