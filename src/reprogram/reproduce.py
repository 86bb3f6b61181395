"""A paper's table in one command: its number, ours, and the controls, resumable cell by cell.

A row of the survey is a set of tasks, of sources, and of candidates: the recipe as published with
the paper's own grid, and ours. Candidates are compared by :func:`reprogram.search.validate`, which
never reads test; what it chooses is fitted under every seed and measured once on test.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import statistics
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from reprogram.files import atomic_write
from reprogram.rows import ROWS, Row
from reprogram.search import Candidate

FOLDS = 3  # of train, where a task is too small for a validation split
CONTROLS = ("majority", "linear_probe", "random_source", "scratch")


@dataclass(frozen=True)
class Cell:
    """One measurement, which a process of its own can make and a file remember."""

    kind: str  # validate, fit, or the name of a control
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
    controls: dict[str, Callable[[], float]] = {
        "majority": lambda: diagnose.majority(task),
        "linear_probe": lambda: diagnose.linear_probe(recipe(source, task, **numbers), task),
        "random_source": lambda: diagnose.random_source(recipe, source, task, **numbers),
        "scratch": lambda: diagnose.scratch(task, seed=cell.seed),
    }
    return {"accuracy": controls[cell.kind]()}


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
        with ProcessPoolExecutor(self.jobs, mp_context=context) as pool:
            try:
                futures = {pool.submit(compute, cell): cell for cell in missing}
                for done, future in enumerate(as_completed(futures), 1):
                    cell = futures[future]
                    values[cell.file] = value = future.result()
                    with atomic_write(self.folder / cell.file) as temporary:
                        temporary.write_text(json.dumps({"cell": asdict(cell), "value": value}))
                    self.tell(f"{done}/{len(missing)} {cell}: {100 * _accuracy(value):.1f} %")
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return values


def run(
    row: Row,
    *,
    tasks: Sequence[str] = (),
    sources: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    folder: str | Path = "runs/reproduce",
    jobs: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> str:
    """Measure a row and return its section for ``docs/results.md``.

    Arguments:
        row: From :data:`reprogram.rows.ROWS`.
        tasks: Task URIs; by default the row's.
        sources: Source URIs; by default the row's.
        seeds: Of the fits and controls on test.
        folder: Where cells are kept; a second call goes on where the first one stopped.
        jobs: Processes side by side, one thread each.
        tell: Called with one line a finished cell.
    """
    from reprogram.sources import load as load_source

    tasks, sources = list(tasks or row.figures), list(sources or row.sources)
    prints = {uri: load_source(uri).fingerprint() for uri in sources}
    bench = Bench(Path(folder) / row.name, jobs, tell)
    places = [(source, task) for source in sources for task in tasks]

    def cell(kind: str, source: str, task: str, candidate: Candidate, seed: int = 0) -> Cell:
        # What a control does not depend on stays out of its name, so that it is computed once.
        if kind in ("majority", "scratch"):
            source, candidate = sources[0], row.published[0]
        seed = 0 if kind == "majority" else seed
        numbers = candidate.numbers
        return Cell(kind, source, prints[source], task, candidate.recipe, numbers, seed)

    trials = [(s, t, c) for s, t in places for c in row.candidates]
    validated = bench.run(cell("validate", *trial) for trial in trials)

    def chosen(source: str, task: str, among: Sequence[Candidate]) -> Candidate:
        def order(candidate: Candidate) -> tuple[float, float]:
            value = validated[cell("validate", source, task, candidate).file]
            return value["accuracy"], -value["loss"]

        return max(among, key=order)

    picks = {p: (chosen(*p, row.published), chosen(*p, row.ours)) for p in places}
    final = [cell("fit", *p, c, seed) for p in places for c in picks[p] for seed in seeds]
    final += [cell(k, *p, picks[p][1], seed) for p in places for k in CONTROLS for seed in seeds]
    values = bench.run(final)

    def over_seeds(kind: str, place: tuple[str, str], candidate: Candidate) -> str:
        found = [values[cell(kind, *place, candidate, seed).file] for seed in seeds]
        return _spread([_accuracy(value) for value in found])

    lines = []
    for place in places:
        published, ours = picks[place]
        figure = row.figures.get(place[1])
        best = validated[cell("validate", *place, ours).file]["accuracy"]
        lines.append([
            place[1], place[0], "" if figure is None else f"{figure:.2f}",
            over_seeds("fit", place, ours), over_seeds("fit", place, published),
            *[over_seeds(kind, place, ours) for kind in CONTROLS],
            f"`{ours}`", f"{100 * best:.1f}", f"`{published}`",
        ])  # fmt: skip
    fits = [v for name, v in values.items() if name.startswith("fit-")]
    return _section(row, lines, fits, list(seeds), places, validated, cell)


def _section(
    row: Row,
    lines: list[list[str]],
    fits: list[dict[str, Any]],
    seeds: list[int],
    places: list[tuple[str, str]],
    validated: dict[str, dict[str, Any]],
    cell: Callable[..., Cell],
) -> str:
    head = ["task", "source", "paper", "ours", "as published", "majority", "linear probe",
            "random source", "scratch", "ours is", "its validation", "published is"]  # fmt: skip
    tried = [
        [f"`{c}`"]
        + [f"{100 * validated[cell('validate', *p, c).file]['accuracy']:.1f}" for p in places]
        for c in row.candidates
    ]
    largest = max(v["program_bytes"] for v in fits)
    unchanged = all(v["source_unchanged"] for v in fits)
    return "\n".join([
        f"## {row.name}",
        "",
        f"{row.paper}. Written by `reprogram reproduce {row.name}`; test accuracy in per cent, mean"
        f" ± standard deviation over seeds {', '.join(map(str, seeds))}.",
        "",
        *_table(head, lines),
        "",
        *[f"- {note}" for note in row.notes],
        "- \"Ours\" is the candidate that validates best among ours, \"as published\" among the"
        " published recipe's; both are fitted with the recipe's defaults otherwise. Linear probe"
        " and random source stand under ours.",
        f"- Largest program: {largest / 1000:.1f} kB. Source fingerprints unchanged by every fit: "
        f"{'yes' if unchanged else 'NO'}.",
        "",
        "What was tried, by accuracy on validation (per cent):",
        "",
        *_table(["candidate", *[f"{t} on {s}" for s, t in places]], tried),
        "",
    ])  # fmt: skip


def write(section: str, row: Row, file: str | Path) -> None:
    """Put a row's section into a results file, in place of the one that is there."""
    file = Path(file)
    title = "# Results\n\nWritten by `reprogram reproduce`, never by hand.\n"
    text = file.read_text() if file.is_file() else title
    head, *sections = text.split("\n## ")
    kept = [s for s in sections if s.split("\n", 1)[0].strip() != row.name]
    kept.append(section.removeprefix("## "))
    kept.sort(key=lambda s: [*ROWS].index(s.split("\n", 1)[0].strip()))
    whole = "\n## ".join(part.rstrip() + "\n" for part in (head, *kept))
    with atomic_write(file) as temporary:
        temporary.write_text(whole)


def _accuracy(value: dict[str, Any]) -> float:
    """Of a fit on test; of anything else as it is."""
    return value.get("test", value)["accuracy"]


def _spread(values: Sequence[float]) -> str:
    mean = 100 * statistics.fmean(values)
    if len(set(values)) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {100 * statistics.stdev(values):.1f}"


def _table(head: list[str], lines: list[list[str]]) -> list[str]:
    rule = ["---"] * len(head)
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *lines)]
