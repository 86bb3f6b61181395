"""A run's state between two steps, and the step itself."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reprogram import checkpoint
from reprogram.evaluation import Prepared, judge_of, measure
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.plan import Costs, Plan
from reprogram.record import CHECKPOINT
from reprogram.sources import BudgetSpent, metered
from reprogram.tasks.base import Split, Task
from reprogram.types import UserError

if TYPE_CHECKING:
    from reprogram.program import Program
    from reprogram.train import Training

ANSWERS = "answers.sqlite"  # in a checkpoint: what a black box has said


@dataclass(frozen=True)
class Progress:
    """What :func:`~reprogram.train.fit` tells after each step."""

    step: int
    steps: int
    epoch: int
    epochs: int
    loss: float
    validation: dict[str, float]


class Loop:
    """The state of a run between two steps.

    Arguments:
        training: Bound.
        task: With its splits.
        after: Queries that the budget must leave for what comes after the run.
    """

    def __init__(self, training: Training, task: Task, after: int = 0) -> None:
        self.training, self.task, self.after = training, task, after
        self.source = metered(training.source)
        self.ledger = self.source.ledger
        self.before, self.recalled = self.ledger.spent, self.ledger.recalled
        self.model = Reprogrammed(self.source, training.transformation, training.mapping)
        self.program = training.program(task.spec)
        self.judge = judge_of(task.spec)
        self.train = self._prepared(task.train)
        self.validation = None if task.validation is None else self._prepared(task.validation)
        self.per_epoch = math.ceil(len(task.train) / training.batch_size)
        training.optimizer.bind(
            training.transformation, training.mapping, self.per_epoch * training.epochs
        )
        self.costs = self._costs()
        self.steps = self._steps()
        if self.steps < self.per_epoch * training.epochs:  # schedules end with the run
            training.optimizer.bind(training.transformation, training.mapping, self.steps)
        self.marks = self.costs.marks(self.steps)
        self.fingerprint = training.source.fingerprint()
        self.step, self.seconds, self.losses = 0, 0.0, [0.0, 0]  # their sum and number since a mark
        self.best, self.begun = math.inf, -1
        self.kept: dict[str, Tensor] = {}
        self.measured: dict[str, float] = {}  # on validation, of what is kept
        self.history: list[dict[str, float]] = []
        self.order: tuple[int, Tensor] = (-1, torch.empty(0))
        self.signature = checkpoint.signature(training, task, self.fingerprint)  # before a step

    def _prepared(self, split: Split) -> Prepared:
        return Prepared(self.training.transformation, split, self.training.device)

    def _costs(self) -> Costs:
        training, optimizer = self.training, self.training.optimizer
        task = self.task
        return Costs(
            rows=len(task.train),
            batch=training.batch_size,
            epochs=training.epochs,
            evaluations=optimizer.evaluations,
            calibration=getattr(optimizer, "calibration", 0),
            passes=tuple(training.mapping.passes(n) for n in range(training.epochs + 1)),
            validation=len(task.validation or ()),
            validations=training.validations,
            # Estimates of a gradient may end worse than they began.
            start=training.keep_best and not self.source.gradient,
            after=self.after + self.measured_train + len(task.test or ()),
        )

    def _steps(self) -> int:
        costs, left = self.costs, self.ledger.left - self.costs.after
        steps = costs.affordable(min(left, self.training.queries or math.inf))
        if steps < 1:
            wanted = costs.training(1) + costs.choosing(1)
            allowed = (
                f"argument 'queries' allows {self.training.queries}"
                if (self.training.queries or math.inf) <= left
                else f"the budget of {self.ledger.budget} leaves {max(left, 0)}"
            )
            raise UserError(
                f"one step with its mapping and validation takes {wanted} queries, and {allowed}; "
                "raise it, or take a smaller batch, fewer directions or fewer rows"
            )
        return steps

    @property
    def plan(self) -> Plan:
        """The bill of the whole run."""
        return Plan(
            steps=self.steps,
            wanted=self.per_epoch * self.training.epochs,
            training=self.costs.training(self.steps),
            validation=self.costs.choosing(self.steps),
            test=len(self.task.test or ()),
            train=self.measured_train,
            controls=self.after,
            price=self.ledger.price,
        )

    @property
    def measured_train(self) -> int:
        """Rows of train that are measured at the end: elsewhere it would cost to learn little."""
        pictured = self.task.spec.target == "image"  # rows that differ by chance from those of test
        return 0 if pictured or not self.source.gradient else len(self.task.train)

    @property
    def queries(self) -> int:
        """Spent by this run."""
        return self.ledger.spent - self.before

    @contextlib.contextmanager
    def remembering(self, folder: Path | None, cache: Path | None, resume: bool) -> Iterator[None]:
        """Answers of a black box are kept in the cache, or with the checkpoint.

        Unless the source keeps them already: then their file is its owner's affair.
        """
        given = self.source.gradient or self.source.answers is not None
        if given or (folder is None and cache is None):
            yield
            return
        run = "run" if folder is None else str(folder.resolve())
        file = cache or (folder or Path()) / CHECKPOINT / ANSWERS
        self.source.remember(file, run, resume=resume)
        try:
            yield
        finally:
            self.source.forget()

    def stop(self) -> None:
        """End the run here: what is left of the budget is for measuring."""
        if self.losses[1]:
            with contextlib.suppress(BudgetSpent):  # the best so far was measured before
                self._mark()
        self.steps = self.step

    def advance(self) -> Progress:
        """One step, and the validation where one is due."""
        began = time.monotonic()
        training = self.training
        epoch, place = divmod(self.step, self.per_epoch)
        if self.order[0] != epoch:
            generator = torch.Generator().manual_seed(hash((training.seed, epoch)) % 2**63)
            self.order = epoch, torch.randperm(len(self.train), generator=generator)
        index = self.order[1][place * training.batch_size :][: training.batch_size]
        with self.ledger.keeping(self.costs.validation + self.costs.after):
            loss = self._step(index)
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} at step {self.step + 1}; give a smaller learning rate"
            )
        for part in (training.transformation, training.mapping, training.criterion):
            part.advance(self.step, self.steps)
        self.step += 1
        self.losses = [self.losses[0] + loss, self.losses[1] + 1]
        if self.step in self.marks:
            self._mark()
        self.seconds += time.monotonic() - began
        validation = {k.removeprefix("validation_"): v for k, v in self.history[-1].items()
                      if k.startswith("validation_")} if self.history else {}  # fmt: skip
        epochs = math.ceil(self.steps / self.per_epoch)
        return Progress(self.step, self.steps, epoch + 1, epochs, loss, validation)

    def _step(self, index: Tensor) -> float:
        """The optimiser's step on some rows; their mean loss."""
        self.begin()
        self.model.train()
        objective = BatchObjective(
            self.model, self.training.criterion, self.train.batch(index),
            seed=self.training.seed, step=self.step,
        )  # fmt: skip
        return float(self.training.optimizer.step(objective))

    def begin(self) -> None:
        """Let the mapping refit where an epoch begins, once; measure where the run begins."""
        epoch, place = divmod(self.step, self.per_epoch)
        if place == 0 and self.begun != epoch < self.training.epochs:
            self.training.mapping.begin_epoch(epoch, self._one_pass)
            self.begun = epoch
        if self.step == 0 and not self.history and self.costs.start and self.validation is not None:
            self._mark()

    def _one_pass(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Outputs of the whole training split under the program as it is: a query a sample."""
        self.model.eval()
        for index in torch.arange(len(self.train)).split(self._eval_batch):
            x, target, weight = self.train.batch(index)
            with torch.no_grad():
                output = self.model.source(self.training.transformation(x))
            yield output, target, weight

    def _mark(self) -> None:
        """A row of the history; validation is measured, and the best so far is kept."""
        row: dict[str, float] = {"epoch": _whole(self.step / self.per_epoch)}
        if self.losses[1]:
            row["loss"] = self.losses[0] / self.losses[1]
        self.losses = [0.0, 0]
        if self.validation is not None:
            with self.ledger.keeping(self.costs.after):
                measured = self._measure(self.validation)
            row |= {f"validation_{name}": value for name, value in measured.items()}
            if not self.training.keep_best or measured["loss"] < self.best:
                self.best, self.measured = measured["loss"], measured
                self.kept = {n: t.detach().cpu().clone() for n, t in self.program.tensors().items()}
        self.history.append(row | {"queries": self.queries})

    def _measure(self, prepared: Prepared) -> dict[str, float]:
        return measure(self.model, prepared, self._eval_batch, self.judge)

    @property
    def _eval_batch(self) -> int:
        return max(64, self.training.batch_size)

    def finish(self) -> Program:
        """The kept parameters' program with its metrics."""
        program = self.program
        if self.kept:
            program.restore(self.kept, "kept in memory")
        with self.ledger.keeping(self.after):
            metrics = self._measured()
        metrics |= {
            "parameters": program.trained,
            "program_bytes": program.size,
            "seconds": round(self.seconds, 2),
            "queries": self.queries,
            "source_unchanged": self.training.source.fingerprint() == self.fingerprint,
        }
        if recalled := self.ledger.recalled - self.recalled:
            metrics["recalled"] = recalled
        if self.ledger.price:
            metrics["cost"] = round(self.queries * self.ledger.price / 1000, 6)
        program.metrics = metrics
        return program

    def _measured(self) -> dict[str, Any]:
        """Metrics by split; those of validation are known."""
        found: dict[str, Any] = {}
        if self.measured_train:
            found["train"] = self._measure(self.train)
        if self.measured:
            found["validation"] = self.measured
        if self.task.test is not None:
            found["test"] = self._measure(self._prepared(self.task.test))
        return found

    def csv(self) -> str:
        """The history, a row a mark."""
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self.history[-1]), restval="")
        writer.writeheader()
        writer.writerows(self.history)
        return text.getvalue()

    def _observed(self) -> dict[str, Tensor]:
        """What was gathered on the way, which only a checkpoint holds."""
        told = {f"mapping.{n}": b for n, b in self.training.mapping.named_buffers()}
        memory = self.training.transformation.memory()
        return told | {f"transformation.{n}": b for n, b in memory.items()}

    def save(self, folder: Path) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {
            "signature": self.signature,
            "step": self.step,
            "steps": self.steps,
            "begun": self.begun,
            "seconds": self.seconds,
            "losses": self.losses,
            "queries": self.queries,
            "best": self.best,
            "kept": self.kept,
            "measured": self.measured,
            "history": self.history,
            "tensors": {n: t.detach().cpu() for n, t in self.program.tensors().items()},
            "observed": {n: b.cpu() for n, b in self._observed().items()},
            "criterion": self.training.criterion.state_dict(),
            "optimizer": self.training.optimizer.state_dict(),
        }
        checkpoint.write(folder, state)

    def restore(self, folder: Path) -> None:
        """Go back to where the checkpoint was written; without one, start."""
        state = checkpoint.read(folder, self.signature)
        if state is None:
            return
        training = self.training
        if state["steps"] != self.steps:  # the budget is another now: the plan stays
            self.steps, self.marks = state["steps"], self.costs.marks(state["steps"])
            training.optimizer.bind(training.transformation, training.mapping, self.steps)
        self.step, self.begun = state["step"], state["begun"]
        self.seconds, self.losses = state["seconds"], state["losses"]
        if self.source.gradient:  # a black box's ledger stands beside its answers
            self.ledger.queries += state["queries"]
        self.best, self.kept, self.history = state["best"], state["kept"], state["history"]
        self.measured = state["measured"]
        self.program.restore(state["tensors"], str(folder / CHECKPOINT))
        for name, buffer in self._observed().items():
            buffer.copy_(state["observed"][name])
        training.criterion.load_state_dict(state["criterion"])
        training.optimizer.load_state_dict(state["optimizer"])


def _whole(number: float) -> float:
    """As an integer where it is one."""
    return int(number) if number == int(number) else round(number, 3)
