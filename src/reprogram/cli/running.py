"""A run from its order to its numbers on disk; ``fit`` and ``demo`` are two orders."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprogram.cli.progress import Display
from reprogram.cli.runs import CHECKPOINT, METRICS, RECORD, command

if TYPE_CHECKING:
    from reprogram.program import Program
    from reprogram.tasks import Task


SEED_BOUND = 2**32  # of numpy's generators, the narrowest


@dataclass
class Order:
    """What a run is asked for, as it stands in ``run.json``."""

    recipe: str
    source: str
    task: str
    label: str = "label"
    controls: bool = False
    budget: int | None = None
    price: float | None = None
    cache: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass
class Done:
    """A finished run."""

    program: Program
    task: Task
    metrics: dict[str, Any]
    out: Path


def carry_out(
    order: Order, out: Path, *, resume: bool = False, checkpoint_seconds: float = 10.0
) -> Done:
    """Fit, compute the controls, write the numbers.

    Raises:
        UserError: for anything in the order that does not exist or does not fit; nothing is then
            written.
    """
    from reprogram import diagnose, recipes, sources, tasks, train
    from reprogram.cli.parameters import accepted, check
    from reprogram.types import UserError

    recipe = recipes.find(order.recipe)
    for name in order.numbers:
        check(name, accepted(recipe), order.recipe)
    seed = order.numbers.get("seed", 0)
    if not 0 <= seed < SEED_BOUND:
        raise UserError(f"argument 'seed' is {seed}; give 0 to {SEED_BOUND - 1}")
    task = tasks.load(order.task, label=order.label, seed=seed)
    bare = sources.load(order.source)
    price = bare.price if order.price is None else order.price
    source = sources.Metered(bare, sources.Ledger(budget=order.budget, price=price))
    training = recipe(source, task, **order.numbers)
    try:
        with Display() as display:
            for note in task.notes:
                display.note(f"note: {note}")
            program = train.fit(
                training,
                task,
                out,
                resume,
                progress=display,
                quote=lambda plan: display.note(str(plan)),
                cache=order.cache and Path(order.cache).expanduser(),
                after=diagnose.probe_queries(training, task) if order.controls else 0,
                checkpoint_seconds=checkpoint_seconds,
                beside={RECORD: json.dumps(asdict(order), indent=1)},
            )
            metrics = _metrics(program, out)
            controls = metrics.setdefault("controls", {})
            costly = order.controls and not set(controls) - {"majority"}
            told = task.spec.target in ("classes", "labels", "tokens")
            if told and task.test is not None and "majority" not in controls:
                controls["majority"] = diagnose.majority(task)["accuracy"]
            if costly:
                spent = source.ledger.spent
                metrics["controls"] = diagnose.controls(
                    recipe, source, task,
                    tell=lambda name: display.note(f"control: {name.replace('_', ' ')}"),
                    **order.numbers,
                )  # fmt: skip
                metrics["control_queries"] = source.ledger.spent - spent
            write_json(out / METRICS, metrics)
    except KeyboardInterrupt as stop:
        going_on = command("fit", "--resume", "--out", out)
        begun = (out / RECORD).is_file() or (out / CHECKPOINT / RECORD).is_file()
        kept = f"; continue with: {going_on}" if begun else ""
        raise type(stop)(f"interrupted{kept}") from None
    return Done(program, task, metrics, out)


def _metrics(program: Program, out: Path) -> dict[str, Any]:
    """The run's numbers: on disk with the controls of an earlier call, else the program's."""
    try:
        found = json.loads((out / METRICS).read_text())
    except (OSError, ValueError):
        found = None
    return found if isinstance(found, dict) else dict(program.metrics)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, whole or not at all."""
    from reprogram.files import atomic_write

    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1))


def summary(done: Done, following: str) -> str:
    """What a run came to, a line each."""
    from reprogram.tasks.metrics import headline

    metrics, lines = done.metrics, {}
    for split in ("test", "validation"):
        if measured := metrics.get(split):
            name = headline(measured)
            lines[f"{split} {name}"] = f"{measured[name]:.{4 if name == 'mse' else 3}f}"
    for name, value in metrics.get("controls", {}).items():
        lines[f"  {name.replace('_', ' ')}"] = f"{value:.3f}"
    paid = f", for {metrics['cost']:,.2f}" if "cost" in metrics else ""
    lines["queries"] = f"{metrics['queries']:,}{paid}"
    lines["parameters trained"] = f"{metrics['parameters']:,}"
    lines["program"] = f"{metrics['program_bytes'] / 1000:.1f} kB"
    lines["source unchanged"] = "yes" if metrics["source_unchanged"] else "NO"
    lines["run directory"] = str(done.out)
    lines["its report"] = command("report", done.out)
    lines["try next"] = following
    width = max(map(len, lines)) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in lines.items())
