"""The one loop: white box and black box, first run and resumed run alike."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from reprogram import checkpoint
from reprogram.criteria import Criterion, CrossEntropy
from reprogram.evaluation import tallies
from reprogram.files import atomic_write
from reprogram.loop import Loop, Progress
from reprogram.mappings import Mapping
from reprogram.optim import Optimizer
from reprogram.plan import Plan
from reprogram.program import Program
from reprogram.record import CHECKPOINT
from reprogram.sources import BudgetSpent, Source
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
        queries: Most source queries that training and validation may spend; training ends where
            the next step would pass them. ``None`` for no limit but the budget.
        validations: How often validation is measured, spread evenly over the run; ``None`` for
            after every epoch.
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
    queries: int | None = None
    validations: int | None = None
    recipe: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "queries", "validations"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise UserError(f"argument {name!r} is {value}; give 1 or more")
        try:
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"argument 'device' is {self.device!r}: {reason}") from None
        if self.optimizer.gradient and not self.source.gradient:
            raise UserError(
                f"{type(self.optimizer).__name__} needs a gradient, and source "
                f"{self.source.uri or 'given'} lets none pass; use NES, SPSA or CMAES"
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


def fit(
    training: Training,
    task: Task,
    out: str | Path | None = None,
    resume: bool = False,
    *,
    progress: Callable[[Progress], None] | None = None,
    quote: Callable[[Plan], None] | None = None,
    after: int = 0,
    cache: str | Path | None = None,
    checkpoint_seconds: float = 10.0,
    beside: dict[str, str] | None = None,
) -> Program:
    """Train transformation and mapping; the source is never touched.

    With a validation split the parameters of its lowest loss are kept, without a gradient the
    untrained ones among them; without one (too few rows) the last. Test is read once, at the end.

    Queries are counted by the source's ledger (:class:`~reprogram.sources.Metered`), and what its
    budget cannot pay is not begun: the run takes fewer steps, or none with an error. Without a
    gradient each answer is kept in ``out``'s checkpoint, and a resumed run asks for none again.

    Arguments:
        training: What a recipe composed.
        task: With its splits.
        out: Run directory: the program, ``metrics.json``, ``history.csv``, and ``checkpoint/``
            while running. Nothing is written if absent.
        resume: Go on from ``out``'s checkpoint, to the same result as an unbroken run.
        progress: Called after each step.
        quote: Called with the bill before the first query.
        after: Queries that the budget must leave for what comes after the run.
        cache: A file that keeps a black box's answers for other runs, too; by default they are
            kept with the checkpoint, until the run is done.
        checkpoint_seconds: Time between checkpoints.
        beside: Further text files for the run directory, by name; in ``checkpoint/`` at first.

    Raises:
        UserError: if the task does not fit, the parts or ``out`` already holds a run, the budget
            pays for no step, or the source gives no answer; ``resume`` then goes on.
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
    loop = Loop(training, task, after)
    if folder is not None and resume:
        loop.restore(folder)
    if quote is not None:
        quote(loop.plan)
    own = None if cache is None else Path(cache)
    with loop.remembering(folder, own, resume):
        try:
            if folder is not None:
                for name, text in (beside or {}).items():
                    with atomic_write(folder / CHECKPOINT / name) as temporary:
                        temporary.write_text(text)
            _run(loop, folder, progress, checkpoint_seconds)
            if folder is not None:  # between steps; within one, the answers that came are enough
                loop.save(folder)
            program = loop.finish()
            if read := tallies(training.transformation, task):
                program.metrics["read"] = read
        except UserError:
            if folder is not None and loop.queries == 0:  # leave nothing of what never began
                checkpoint.discard(folder)
            raise
    if folder is not None:
        files = {"metrics.json": json.dumps(program.metrics, indent=1), "history.csv": loop.csv()}
        program.save(folder, beside={**(beside or {}), **files})
    return program


def _run(
    loop: Loop,
    folder: Path | None,
    progress: Callable[[Progress], None] | None,
    checkpoint_seconds: float,
) -> None:
    """Steps to the last, with checkpoints between them."""
    loop.begin()
    saved = time.monotonic()
    while loop.step < loop.steps:
        try:
            report = loop.advance()
        except BudgetSpent:  # answers were lost that had to be paid for
            loop.stop()
            return
        if folder is not None and time.monotonic() - saved >= checkpoint_seconds:
            loop.save(folder)
            saved = time.monotonic()
        if progress is not None:
            progress(report)
