"""What the tables of generators and automata ask for: kinds of cells, their metrics, and rows."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import pytest
import tiny_automata
import torch
from tiny_generators import drawing_source, drawing_spec, drawing_task, reading_source

from reprogram import bench as benches
from reprogram import diagnose, sources, tasks
from reprogram.bench import Cell, compute
from reprogram.diagnose import automata
from reprogram.evaluation import judge_of
from reprogram.grid import NUMBERS, Entry, Grid, Table, spread
from reprogram.grid import run as grid_run
from reprogram.recipes import find
from reprogram.rows.made import AUTOMATA, GENERATORS, JUDGE
from reprogram.sources import zoo
from reprogram.sources.automata.published import ADVERSARIES, MATRICES
from reprogram.tasks import TASKS, make_task
from reprogram.tasks.base import Task
from reprogram.tasks.metrics import headline
from reprogram.types import UserError

SHORT = {"epochs": 1, "batch_size": 4, "steps": 1, "pool": 8}
FAST = {"epochs": 1, "batch_size": 20, "width": 4, "updates": 1}
# where a kind is at home: source, task, recipe, numbers
HOMES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "drawing": ("zoo:tiny-gan", "tiny-drawing", "inrep", {"embedding": 2, **FAST}),
    "digits": ("zoo:tiny-digits-ca", "tiny-digits", "nca-inject", SHORT),
    "growing": ("zoo:tiny-growing-ca", "tiny-growing", "nca-global", SHORT),
}
KINDS = [
    *[("drawing", kind) for kind in ("fit", "random_source", "conditional_gan", "rejection",
                                     "real")],
    *[(home, kind) for home in ("digits", "growing") for kind in ("stability", "untouched")],
    ("digits", "published:eight"),
    ("growing", "published:tail"),
]  # fmt: skip


def judged_drawing() -> Task:
    task = drawing_task()
    return replace(task, spec=replace(task.spec, judge="zoo:tiny-judge"))


@pytest.fixture(scope="module")
def told() -> Iterator[Any]:
    """(home, kind) -> what its cell comes to, computed once, as the bench computes it."""
    made = {
        "tiny-gan": drawing_source, "tiny-judge": reading_source,
        "tiny-digits-ca": tiny_automata.digits, "tiny-growing-ca": tiny_automata.growing,
    }  # fmt: skip
    known = {
        "tiny-drawing": judged_drawing, "tiny-digits": tiny_automata.digits_task,
        "tiny-growing": tiny_automata.growing_task,
    }  # fmt: skip
    few = {"steps": 1, "batch_size": 20, "width": 4, "channels": 8}
    with pytest.MonkeyPatch.context() as patch:
        for name, make in made.items():
            patch.setitem(zoo.SOURCES, name, (make, "tiny, for tests"))
        loaders = {name: (lambda *, seed, make=make: make(), "") for name, make in known.items()}
        patch.setattr(tasks, "TASKS", {**TASKS, **loaders})
        patch.setattr(torch, "set_num_threads", lambda _: None)
        patch.setattr(
            diagnose, "conditional_gan", functools.partial(diagnose.conditional_gan, **few)
        )
        weights = made["tiny-digits-ca"]().rollout.cell.state_dict()
        patch.setattr(automata, "published_adversary", {"eight": weights}.__getitem__)
        patch.setattr(automata, "published_matrix", {"tail": torch.eye(6)}.__getitem__)
        yield functools.cache(lambda home, kind: compute(cell_of(home, kind)))


def cell_of(home: str, kind: str) -> Cell:
    source, task, recipe, numbers = HOMES[home]
    return Cell(kind, source, "", task, recipe, numbers, 1)


def reported(value: dict[str, Any]) -> dict[str, float]:
    return value.get("test", value)


@pytest.mark.parametrize(("home", "kind"), KINDS)
def test_each_kind_is_carried_out(home: str, kind: str, told: Any) -> None:
    found = reported(told(home, kind))
    assert found and all(math.isfinite(value) for value in found.values())
    line = benches.told(told(home, kind))
    name = headline(found) if headline(found) in found else next(iter(found))
    assert line == f"{name} {found[name]:.4g}"


class InProcess:
    """A pool that works on the spot."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *_: object) -> None: ...
    def shutdown(self, **_: Any) -> None: ...
    def submit(self, function: Any, cell: Cell) -> Future:
        future: Future = Future()
        future.set_result(function(cell))
        return future


def table_of(entries: dict[str, Entry]) -> Grid:
    return Grid("made", "Tiny.", [Table("all", {name: {"": e} for name, e in entries.items()})])


def test_a_table_of_all_kinds(told: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """Shares are told in per cent, errors and distances as they are."""
    monkeypatch.setattr(benches, "ProcessPoolExecutor", InProcess)
    monkeypatch.setattr(benches, "compute", lambda cell: told(homes[cell.source], cell.kind))
    homes = {home[0]: name for name, home in HOMES.items()}
    metrics = {"drawing": ("wanted", "intra_fid"), "digits": ("program@2x accuracy",),
               "growing": ("removed@10x mse",)}  # fmt: skip
    entries = {
        f"{home} {kind} {metric}": Entry(*HOMES[home], kind, metric)
        for home, kind in KINDS
        if kind != "untouched"
        for metric in metrics[home]
    }
    text = grid_run(table_of(entries), seeds=(0,), folder=tmp_path)
    for name, entry in entries.items():
        home, kind, metric = name.split(" ", 2)
        value = reported(told(home, kind))[metric]
        number = metric.rpartition(" ")[2] in NUMBERS
        shown = f"{value:.{1 if value >= 1 else 5}f}" if number else f"{100 * value:.1f}"
        assert f"| {name} | {shown} |" in text, entry
    assert grid_run(table_of(entries), seeds=(0,), folder=tmp_path) == text


WRONG = {
    ("drawing", "stability"): (UserError, "automaton; SharedNoise does not"),
    ("drawing", "untouched"): (UserError, "automaton; SharedNoise does not"),
    ("drawing", "published:eight"): (UserError, "nothing is published of SharedNoise"),
    ("digits", "conditional_gan"): (UserError, "toy asks for cells; this control draws images"),
    ("digits", "rejection"): (UserError, "has no door 'noise'"),
    ("growing", "real"): (UserError, "square names no judge"),
    ("drawing", "stabillity"): (KeyError, "stabillity"),
    ("drawing", ""): (KeyError, "''"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_kind_that_is_not_there_is_refused(case: tuple[str, str], told: Any) -> None:
    del told
    kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        compute(cell_of(*case))


def test_a_metric_that_is_not_there_is_refused(
    told: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(benches, "ProcessPoolExecutor", InProcess)
    monkeypatch.setattr(benches, "compute", lambda _: told("drawing", "real"))
    entry = Entry(*HOMES["drawing"], "real", "accuracy")
    with pytest.raises(KeyError, match="accuracy"):
        grid_run(table_of({"real": entry}), seeds=(0,), folder=tmp_path)


# The rows

GRIDS = {grid.name: grid for grid in (GENERATORS, AUTOMATA)}
ENTRIES = [(table, row, column, entry) for grid in GRIDS.values() for table in grid.tables
           for row, line in table.entries.items() for column, entry in line.items()]  # fmt: skip
HOME = {"inrep": "drawing", "gan-noise": "drawing", "nca-inject": "digits", "nca-global": "growing"}


def counted(metric: str) -> str:
    """Without the step of a validation, which goes by how long a run is."""
    return re.sub(r"^validated@\d+", "validated", metric)


def test_a_kind_gives_the_metric_that_a_row_asks_for(told: Any) -> None:
    asked = {(HOME[e.recipe], e.kind, e.metric) for *_, e in ENTRIES}
    home_of = {"published:red": "published:tail"}
    for home, kind, metric in sorted(asked):
        given = {counted(name) for name in reported(told(home, home_of.get(kind, kind)))}
        assert counted(metric) in given, (home, kind, metric)
    named = {e.kind.partition(":")[2]: e.recipe for *_, e in ENTRIES if ":" in e.kind}
    known = {"nca-inject": ADVERSARIES, "nca-global": MATRICES}
    assert named and all(name in known[recipe] for name, recipe in named.items())


@functools.cache
def fake_mnist(*, seed: int = 0) -> Task:
    """As many images as the rows' tasks take, of ten classes, without a file."""
    generator = torch.Generator().manual_seed(seed)

    def rows(n: int) -> tuple[torch.Tensor, list[str]]:
        x = torch.randint(40, 256, (n, 1, 28, 28), generator=generator, dtype=torch.uint8)
        return x, [str(i % 10) for i in range(n)]

    return make_task("mnist", "image", rows(1000), validation=rows(100), test=rows(100))


@pytest.fixture
def without_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks and sources of the rows, in place of those that are read from files."""
    monkeypatch.setattr(tasks, "TASKS", {**tasks.TASKS, "mnist": (fake_mnist, "")})
    picture = torch.zeros(4, 40, 40)
    picture[:, 10:30, 10:30] = 0.5
    monkeypatch.setattr("reprogram.tasks.grow.read_picture", lambda *_: picture)
    same = {"selforg-mnist-ca": "mnist-ca", "lizard-ca": "growing-ca"}
    for name, other in same.items():
        monkeypatch.setitem(zoo.SOURCES, name, zoo.SOURCES[other])


def test_every_entry_composes(without_files: None) -> None:
    """Tasks with their options, recipes with their numbers, mappings for both; none is trained."""
    del without_files
    load = functools.cache(tasks.load)
    seen = set()
    for *_, entry in ENTRIES:
        key = (entry.source, entry.task, entry.recipe, str(entry.numbers))
        if key in seen:
            continue
        seen.add(key)
        source, task = sources.load(entry.source), load(entry.task)
        training = find(entry.recipe)(source, task, **entry.numbers, seed=1)
        training.mapping.bind(training.source, task.spec)
        assert training.parameters.items() >= dict(entry.numbers).items()
        assert training.seed == 1 and task.test is not None
        assert task.spec.judge == (JUDGE if HOME[entry.recipe] == "drawing" else "")
    assert len(seen) > 10


def test_as_many_steps_as_the_notes_say(without_files: None) -> None:
    del without_files
    steps, longest = {}, {}
    for *_, entry in ENTRIES:
        if entry.kind == "stability":
            task = tasks.load(entry.task)
            training = find(entry.recipe)(sources.load(entry.source), task, **entry.numbers)
            batches = math.ceil(len(task.train) / training.batch_size)
            steps[entry.recipe] = training.epochs * batches
            longest[entry.recipe] = training.transformation.steps
    validated = {int(e.metric[10:].split()[0]) for *_, e in ENTRIES if "validated@" in e.metric}
    epochs, last = max(1, steps["nca-global"] // 64), steps["nca-global"]
    assert max(validated) == last and all(n % (last // epochs) == 0 for n in validated)
    told = f"{steps['nca-inject']:,} and {steps['nca-global']:,} "
    assert any(told in note for note in AUTOMATA.notes)
    runs = f"{longest['nca-inject']} steps of digits, {max(longest['nca-global'])} of the lizard"
    assert any(runs in note for note in AUTOMATA.notes)


def test_what_is_read_from_files_is_there(data_root: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    for uri in {e.source for *_, e in ENTRIES}:
        assert sources.load(uri).uri == uri
    pictures = {e.task for *_, e in ENTRIES if e.task.startswith("grow:")}
    for uri in pictures:
        assert tasks.load(uri).spec.shape == (4, 72, 72)
    judge = judge_of(replace(drawing_spec(), classes=tuple("0123456789"), judge=JUDGE))
    assert judge is not None and judge.shows_features


def fabricated(cell: Cell) -> dict[str, Any]:
    """A number for every metric, another one for each seed."""
    metrics = {e.metric for *_, e in ENTRIES}
    value = {metric: 0.25 + 0.01 * cell.seed for metric in metrics}
    return {"test": value} if cell.kind == "fit" else value


@pytest.mark.parametrize("name", GRIDS)
def test_the_section_of_a_grid(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(benches, "ProcessPoolExecutor", InProcess)
    monkeypatch.setattr(benches, "compute", fabricated)
    monkeypatch.setattr(sources, "load", lambda _: drawing_source())
    grid = GRIDS[name]
    text = grid_run(grid, seeds=(0, 1, 2), folder=tmp_path)
    assert text.startswith(f"## {name}\n\n{grid.title} Written by `reprogram reproduce {name}`")
    runs = set()
    for table in grid.tables:
        seeds = range(3)[: table.seeds]
        assert f"**{table.title}" in text
        for row, line in table.entries.items():
            cells = [
                spread([0.25 + 0.01 * seed for seed in seeds],
                       share=e.metric.rpartition(" ")[2] not in NUMBERS)
                for e in line.values()
            ]  # fmt: skip
            assert f"| {row} | {' | '.join(cells)} |" in text
            runs |= {(e.kind, e.source, e.task, e.recipe, str(e.numbers), seed)
                     for e in line.values() for seed in seeds}  # fmt: skip
    assert all(f"- {note}" in text for note in grid.notes)
    assert len(list(tmp_path.rglob("*.json"))) == len(runs)  # whatever is read of a run
