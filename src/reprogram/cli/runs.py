"""What a run directory remembers of its command, and where a new one may stand."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprogram.cli.exits import tell

if TYPE_CHECKING:
    from reprogram.program import Program
    from reprogram.tasks import Task
    from reprogram.types import TaskSpec

RECORD, METRICS, CHECKPOINT = "run.json", "metrics.json", "checkpoint"  # as fit calls it


def fresh(place: Path) -> Path:
    """``place``, or with the first of ``-2``, ``-3``, ... where nothing stands."""
    others = (place.with_name(f"{place.name}-{n}") for n in itertools.count(2))
    return next(path for path in itertools.chain([place], others) if not path.exists())


def slug(text: str) -> str:
    """A name for a folder: the last part of a path or URI, without its suffix.

    Example:
        >>> slug("ucr:GunPoint"), slug("data/My traces.csv")
        ('gunpoint', 'my-traces')
    """
    name = re.split(r"[/\\:]", text.rstrip("/\\"))[-1].partition(".")[0]
    return re.sub(r"[^\w]+", "-", name).strip("-").lower() or "run"


def source_uri(source: str, access: str | None, adapter: Path | None) -> str:
    """A source's URI with these among its options: that is how a program names it.

    Example:
        >>> source_uri("zoo:speech-commands#log-mel", "label", None)
        'zoo:speech-commands?access=label#log-mel'
    """
    base, hash_, door = source.partition("#")
    options = {"access": access, "adapter": adapter and str(adapter)}
    for name, value in options.items():
        if value is not None:
            base += f"{'&' if '?' in base else '?'}{name}={value}"
    return f"{base}{hash_}{door}"


def command(*words: str | Path) -> str:
    """A command line that works when pasted: this program as it was called, then the words."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        start = [sys.executable, "-m", "reprogram"]
    else:
        found = shutil.which("reprogram")
        same = found is not None and called.exists() and called.samefile(found)
        start = ["reprogram" if same else str(called)]
    return shlex.join([*start, *map(str, words)])


def read_record(folder: Path) -> dict[str, Any] | None:
    """What the run was asked for; ``None`` where nothing tells.

    Raises:
        UserError: if the record is damaged.
    """
    from reprogram.types import UserError

    for file in (folder / RECORD, folder / CHECKPOINT / RECORD):
        if file.is_file():
            try:
                record = json.loads(file.read_text())
                if isinstance(record, dict) and isinstance(record.get("numbers"), dict):
                    return record
            except ValueError:
                pass
            raise UserError(f"{file} is damaged; name recipe, source and task again, without it")
    return None


def open_program(
    folder: Path, *, source: str | None = None, strict: bool = True, device: str | None = None
) -> Program:
    """The program of a run, its source verified.

    Raises:
        UserError: if there is none, it is damaged, or its source has changed.
    """
    from reprogram import sources
    from reprogram.program import Program
    from reprogram.types import UserError

    given = sources.load(source) if source is not None else None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            program = Program.load(folder, given, strict=strict, device=device or "cpu")
        except (RuntimeError, AssertionError) as error:  # torch, of a device that is not here
            if device is None:
                raise
            reason = str(error).splitlines()[0]
            raise UserError(f"argument 'device' is {device!r}: {reason}") from error
    for warning in caught:
        if str(warning.message).startswith("program "):  # ours, among those of libraries
            tell(f"warning: {warning.message}")
    return program


def open_task(
    folder: Path, program: Program, *, task: str | None, label: str | None, seed: int | None
) -> Task:
    """The task that a run was fitted to, or another one of the same classes.

    Arguments:
        folder: Of the run, whose record names the label column.
        program: Of the run.
        task: Another task.
        label: Another label column.
        seed: Another seed of the splits.

    Raises:
        UserError: if the record is damaged, the task is not to be had, or it asks something else.
    """
    record = read_record(folder) or {}
    return _load_task(
        task or program.task.name,
        program.task,
        label=label or (record.get("label") if task is None else None) or "label",
        seed=program.seed if seed is None else seed,
    )


def _load_task(name: str, fitted: TaskSpec, *, label: str, seed: int) -> Task:
    """The task, which must ask what the program answers.

    Raises:
        UserError: if its classes or the shape of its samples are others.
    """
    from reprogram import tasks
    from reprogram.types import UserError

    options: dict[str, Any] = {}
    place = name.partition("?")[0]
    if (
        fitted.input.kind == "image"
        and place not in tasks.TASKS
        and Path(place).expanduser().is_dir()
    ):
        options["size"] = fitted.input.shape[1:]
    task = tasks.load(name, label=label, seed=seed, **options)
    mine, theirs = task.spec, fitted
    if mine.classes != theirs.classes:
        raise UserError(
            f"task {name!r} has classes {', '.join(mine.classes)}; the program was fitted to "
            f"{', '.join(theirs.classes)}: give a task of the same classes"
        )
    if (mine.input.kind, mine.input.shape) != (theirs.input.kind, theirs.input.shape):
        raise UserError(
            f"task {name!r} has samples of kind {mine.input.kind!r} and shape {mine.input.shape}; "
            f"the program was fitted to {theirs.input.kind!r} of shape {theirs.input.shape}"
        )
    return task
