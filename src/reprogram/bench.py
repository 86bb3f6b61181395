"""Measurements that processes of their own make and files remember."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprogram.files import atomic_write
from reprogram.search import Candidate
from reprogram.tasks.metrics import headline

if TYPE_CHECKING:
    from reprogram.loop import Progress
    from reprogram.tasks import Task
    from reprogram.train import Training

FOLDS = 3  # of train, where a task is too small for a validation split


@dataclass(frozen=True)
class Cell:
    """One measurement, which a process of its own can make and a file remember."""

    kind: str  # validate, fit, or the name of a control; published:NAME
    source: str
    fingerprint: str
    task: str
    recipe: str = ""
    numbers: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def file(self) -> str:
        """A name that any change of the cell changes."""
        text = json.dumps(asdict(self), sort_keys=True)
        return f"{self.kind}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"

    def __str__(self) -> str:
        what = str(Candidate(self.recipe, self.numbers))
        return f"{self.kind} {what} on {self.source}, {self.task}, seed {self.seed}"


def compute(cell: Cell) -> dict[str, Any]:
    """The cell's value; one thread, for many processes run beside one another."""
    import torch

    from reprogram import diagnose, search
    from reprogram.recipes import find
    from reprogram.sources import load as load_source
    from reprogram.tasks import load as load_task
    from reprogram.train import fit

    torch.set_num_threads(1)
    source, task = load_source(cell.source), load_task(cell.task)
    recipe, numbers = find(cell.recipe), {**cell.numbers, "seed": cell.seed}
    if cell.kind == "validate":
        candidate = Candidate(cell.recipe, cell.numbers)
        return asdict(search.validate(candidate, source, task, folds=FOLDS, seed=cell.seed))
    if cell.kind == "fit":
        return fit(recipe(source, task, **numbers), task).metrics
    shown = recipe(source, task, **numbers)
    controls: dict[str, Callable[[], dict[str, float]]] = {
        "majority": lambda: diagnose.majority(task),
        "linear_probe": lambda: diagnose.linear_probe(shown, task),
        "mapping_alone": lambda: diagnose.mapping_alone(shown, task),
        "readout": lambda: diagnose.linear_probe(shown, task, features=False),
        "random_source": lambda: diagnose.random_source(recipe, source, task, **numbers),
        "scratch": lambda: diagnose.scratch(task, seed=cell.seed),
        "logistic": lambda: diagnose.logistic(task, seed=cell.seed),
        "boosting": lambda: diagnose.boosting(task, seed=cell.seed),
        "ngrams": lambda: diagnose.ngrams(task, seed=cell.seed),
        "positional": lambda: diagnose.positional(task, seed=cell.seed),
        "fingerprints": lambda: diagnose.fingerprints(task, seed=cell.seed),
        "conditional_gan": lambda: diagnose.conditional_gan(task, seed=cell.seed),
        "rejection": lambda: diagnose.rejection(source, task, seed=cell.seed),
        "real": lambda: diagnose.real(task),
        "untouched": lambda: diagnose.untouched(shown, task),
        "stability": lambda: _lasting(shown, task, cell.seed),
        "published": lambda: _published(shown, task, cell),
        "fingerprint_forest": lambda: diagnose.fingerprints(task, forest=True, seed=cell.seed),
    }
    return controls[cell.kind.partition(":")[0]]()


def _lasting(training: Training, task: Task, seed: int) -> dict[str, float]:
    """What a trained program comes to, and what validation said after each epoch."""
    from reprogram import diagnose
    from reprogram.train import fit

    curve: dict[str, float] = {}

    def follow(now: Progress) -> None:
        if now.step * now.epochs % now.steps == 0:
            curve.update({f"validated@{now.step} {k}": v for k, v in now.validation.items()})

    lasts = diagnose.lasting(fit(training, task, progress=follow), task, seed=seed)
    return lasts | curve


def _published(training: Training, task: Task, cell: Cell) -> dict[str, float]:
    """The same of the program that was published."""
    from reprogram import diagnose
    from reprogram.evaluation import evaluate

    program = diagnose.published(training, task, cell.kind.partition(":")[2])
    validated = {} if task.validation is None else evaluate(program, task.validation)
    lasts = diagnose.lasting(program, task, seed=cell.seed)
    return lasts | {f"validated {name}": value for name, value in validated.items()}


def _end_with_parent() -> None:
    """A process whose parent was killed ends at once, not with its cell."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Bench:
    """Cells computed in parallel processes and kept in a folder; what is there is not run again."""

    def __init__(self, folder: Path, jobs: int, tell: Callable[[str], None]) -> None:
        self.folder, self.jobs, self.tell = folder, jobs, tell

    def run(self, cells: Iterable[Cell]) -> dict[str, dict[str, Any]]:
        """Values by cell file."""
        wanted = {cell.file: cell for cell in cells}
        values = {}
        for name in wanted:
            if (path := self.folder / name).is_file():
                values[name] = json.loads(path.read_text())["value"]
        missing = [cell for name, cell in wanted.items() if name not in values]
        if not missing:
            return values
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.jobs, context, _end_with_parent) as pool:
            try:
                futures = {pool.submit(compute, cell): cell for cell in missing}
                for done, future in enumerate(as_completed(futures), 1):
                    cell = futures[future]
                    values[cell.file] = value = future.result()
                    with atomic_write(self.folder / cell.file) as temporary:
                        temporary.write_text(json.dumps({"cell": asdict(cell), "value": value}))
                    self.tell(f"{done}/{len(missing)} {cell}: {told(value)}")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return values


def accuracy_of(value: dict[str, Any]) -> float:
    """Of a fit on test; of anything else as it is."""
    return value.get("test", value)["accuracy"]


def told(value: dict[str, Any]) -> str:
    """The metric that it is told by, of a fit on test."""
    measured = value.get("test", value)
    name = headline(measured)
    if name not in measured:  # many of one run: the first stands for them
        name = next(iter(measured))
    return f"{name} {measured[name]:.4g}"
