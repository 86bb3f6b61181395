"""A row's table: every cell once, resumable, chosen on validation, written in place."""

import inspect
import json
import subprocess
import sys

import pytest

from reprogram import bench as benches
from reprogram import parts
from reprogram.bench import Bench, Cell
from reprogram.grid import Entry, Grid, Table
from reprogram.grid import run as grid_run
from reprogram.recipes import find
from reprogram.reproduce import run, write
from reprogram.rows import GRIDS, ROWS, Row, find_row
from reprogram.search import Candidate
from reprogram.sources import split_options, zoo
from reprogram.tasks import TASKS
from reprogram.tasks.options import split_name
from reprogram.types import UserError

TOY = Row(
    name="v2s",
    paper="A paper",
    figures={"one": 90.0, "two": None},
    sources=("zoo:images",),
    published=(Candidate("ar", {"size": 12}),),
    ours=(Candidate("ar", {"size": 16}), Candidate("ar", {"size": 20})),
)


def fake(cell: Cell) -> dict:
    """Size 20 validates best on task one and size 16 on task two; test says the opposite."""
    size = cell.numbers.get("size", 0)
    good = {"one": 20, "two": 16}[cell.task]
    if cell.kind == "validate":
        return {"accuracy": 0.9 if size == good else 0.5, "loss": 1.0}
    if cell.kind == "fit":
        value = (0.6 if size == good else 0.99) + 0.01 * cell.seed
        return {"test": {"accuracy": value}, "program_bytes": 1000, "source_unchanged": True}
    return {"accuracy": 0.25}


@pytest.fixture
def bench(monkeypatch):
    """The real bench with computing in this process, counted."""
    computed: list[Cell] = []

    class Pool:
        def __init__(self, *_, **__): ...
        def __enter__(self):
            return self

        def __exit__(self, *_): ...
        def shutdown(self, **_): ...
        def submit(self, function, cell):
            from concurrent.futures import Future

            computed.append(cell)
            future: Future = Future()
            future.set_result(fake(cell))
            return future

    monkeypatch.setattr(benches, "ProcessPoolExecutor", Pool)
    return computed


def test_choices_follow_validation_and_cells_are_computed_once(bench, tmp_path):
    section = run(TOY, folder=tmp_path)
    one, two = (
        next(x for x in section.splitlines() if x.startswith(f"| {t} |")) for t in ("one", "two")
    )
    assert "`ar size=20`" in one and "61.0 ± 1.0" in one and "| 90 |" in one
    assert "`ar size=16`" in two and "61.0 ± 1.0" in two
    assert "25.0" in one and "yes" in section
    assert len(bench) == len({c.file for c in bench})
    first = len(bench)
    assert run(TOY, folder=tmp_path) == section  # resumed: nothing left to do
    assert len(bench) == first
    next((tmp_path / "v2s").glob("fit-*.json")).unlink()
    assert run(TOY, folder=tmp_path) == section
    assert len(bench) == first + 1


def test_a_cell_file_changes_with_the_source():
    cell = Cell("fit", "zoo:images", "aaa", "digits", "ar", {}, 0)
    assert cell.file != Cell("fit", "zoo:images", "bbb", "digits", "ar", {}, 0).file


def test_sections_are_replaced_and_kept_in_order(tmp_path):
    file = tmp_path / "results.md"
    write("## ar\n\nfirst\n", "ar", file)
    write("## v2s\n\ntable\n", "v2s", file)
    write("## ar\n\nsecond\n", "ar", file)
    text = file.read_text()
    assert text.startswith("# Results")
    assert "first" not in text
    assert text.index("## v2s") < text.index("## ar") < text.index("second")


def test_a_real_cell_runs(tmp_path):
    cell = Cell("majority", "zoo:images", "x", "digits", "ar", {}, 0)
    value = Bench(tmp_path, 1, lambda _: None).run([cell])[cell.file]
    assert 0.05 < value["accuracy"] < 0.2
    stored = json.loads((tmp_path / cell.file).read_text())
    assert stored["value"] == value and stored["cell"]["task"] == "digits"


def test_an_unknown_row_names_the_nearest():
    with pytest.raises(UserError, match="did you mean 'v2s'"):
        find_row("v2")


def test_a_grid_is_measured_whole_and_its_order_is_told(bench, tmp_path):
    def entry(size: int, kind: str = "fit") -> Entry:
        return Entry("zoo:images", "one", "ar", {"size": size}, kind)

    rows = {
        "worse": {"a": entry(20), "b": entry(16)},
        "better": {"a": entry(16), "b": entry(20)},
        "control": {"a": entry(16, "majority"), "b": entry(16, "majority")},
    }
    grid = Grid("mappings", "Some sizes.", [Table("one", rows, ("worse", "better"))], ["A note."])
    text = grid_run(grid, folder=tmp_path)
    assert text.startswith("## mappings\n")
    assert "| worse | 61.0 ± 1.0 | 100.0 ± 1.0 |" in text
    assert "| worse < better | yes, +39.0 | no, -39.0 |" in text
    assert "| control | 25.0 | 25.0 |" in text
    assert text.count("A note.") == 1
    first = len(bench)
    assert first == 3 * 3  # two fits and one control, three seeds each
    assert grid_run(grid, folder=tmp_path) == text and len(bench) == first
    write(text, "mappings", tmp_path / "results.md")
    assert "worse < better" in (tmp_path / "results.md").read_text()


def test_a_dear_table_has_fewer_seeds_and_says_so(bench, tmp_path):
    cheap, dear = ({"row": {"two": Entry("zoo:images", task, "ar")}} for task in ("one", "two"))
    grid = Grid("mappings", "Both.", [Table("cheap", cheap), Table("dear", dear, seeds=1)])
    section = grid_run(grid, folder=tmp_path, seeds=(4, 5, 6))
    assert [(cell.task, cell.seed) for cell in bench] == [
        ("one", 4), ("one", 5), ("one", 6), ("two", 4),
    ]  # fmt: skip
    assert "**cheap**" in section and "**dear (seed 4)**" in section


def test_every_row_names_what_there_is():
    """Recipes, numbers, sources and tasks of every table; nothing is fitted."""
    cells = [
        (source, task, candidate)
        for row in ROWS.values()
        for source in row.sources
        for task in row.figures
        for candidate in row.candidates
    ]
    tables = [table for grid in GRIDS.values() for table in grid.tables]
    entries = [e for table in tables for line in table.entries.values() for e in line.values()]
    exports = {uri: original for grid in GRIDS.values() for uri, original in grid.exports.items()}
    cells += [(e.source, e.task, Candidate(e.recipe, dict(e.numbers))) for e in entries]
    for source, task, candidate in cells:
        source = exports.get(split_options(source)[0], source)
        assert split_options(source)[0].split(":")[1] in zoo.SOURCES
        assert split_name(task)[0].split(":")[0] in {name.split(":")[0] for name in TASKS}
        taken = inspect.signature(find(candidate.recipe)).parameters
        assert candidate.numbers.keys() <= taken.keys()
        parts.make("mappings", candidate.numbers.get("mapping", "Fixed"))
    for row in ROWS.values():
        places = row.places or ()
        assert all(s in row.sources and t in row.figures for s, t in places)


def test_columns_of_a_table_are_the_same_in_every_row():
    for grid in GRIDS.values():
        for table in grid.tables:
            assert len({tuple(line) for line in table.entries.values()}) == 1
            assert set(table.order) <= table.entries.keys()


ORPHANED = """
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from reprogram.bench import _end_with_parent

def work():
    print("at work", flush=True)
    time.sleep(300)

if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("spawn"), _end_with_parent) as pool:
        pool.submit(work).result()
"""


def test_a_process_of_a_killed_parent_ends_before_its_cell(tmp_path):
    (tmp_path / "orphaned.py").write_text(ORPHANED)
    command = [sys.executable, str(tmp_path / "orphaned.py")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stdout.readline() == "at work\n"
    parent.kill()
    parent.communicate(timeout=60)  # raises while a process still holds the other end of the pipe
