"""Tables of measurements that are no choice: every cell is fitted and shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reprogram.bench import Bench, Cell

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table.

    Arguments:
        source: URI.
        task: URI.
        recipe: Its name.
        numbers: What differs from the recipe's defaults.
        kind: ``fit``, or the name of a control.
        metric: Which of its metrics on test.
    """

    source: str
    task: str
    recipe: str
    numbers: Numbers = field(default_factory=dict)
    kind: str = "fit"
    metric: str = "accuracy"


@dataclass(frozen=True)
class Table:
    """Rows by columns.

    Arguments:
        title: What is measured, where.
        entries: Row name -> column name -> entry; every row has the same columns.
        order: Rows in the order that a paper claims, worst first: a second table then tells of each
            neighbouring pair whether it holds.
    """

    title: str
    entries: Mapping[str, Mapping[str, Entry]]
    order: Sequence[str] = ()


@dataclass(frozen=True)
class Grid:
    """Tables under one name.

    Arguments:
        name: As ``reprogram reproduce`` knows it.
        title: What is shown.
        tables: In order.
        notes: What a reader must know.
    """

    name: str
    title: str
    tables: Sequence[Table]
    notes: Sequence[str] = ()


def run(
    grid: Grid,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    folder: str | Path = "runs/reproduce",
    jobs: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> str:
    """Measure a grid and return its section for ``docs/results.md``.

    Arguments:
        grid: From :data:`reprogram.rows.GRIDS`.
        seeds: Of every cell.
        folder: Where cells are kept; a second call goes on where the first one stopped.
        jobs: Processes side by side, one thread each.
        tell: Called with one line a finished cell.
    """
    from reprogram.sources import load as load_source

    entries = [e for t in grid.tables for row in t.entries.values() for e in row.values()]
    prints = {uri: load_source(uri).fingerprint() for uri in {e.source for e in entries}}

    def cell(entry: Entry, seed: int) -> Cell:
        numbers = dict(entry.numbers)
        place = entry.source, prints[entry.source], entry.task
        return Cell(entry.kind, *place, entry.recipe, numbers, seed)

    bench = Bench(Path(folder) / grid.name, jobs, tell)
    values = bench.run(cell(entry, seed) for seed in seeds for entry in entries)

    def measured(entry: Entry) -> list[float]:
        found = [values[cell(entry, seed).file] for seed in seeds]
        return [value.get("test", value)[entry.metric] for value in found]

    text = [
        f"## {grid.name}",
        "",
        f"{grid.title} Written by `reprogram reproduce {grid.name}`; on test, in per cent, mean ± "
        f"standard deviation over seeds {', '.join(map(str, seeds))}.",
        "",
    ]
    for table in grid.tables:
        text += _section(table, measured)
    return "\n".join([*text, *[f"- {note}" for note in grid.notes], ""])


def _section(table: Table, measured: Callable[[Entry], list[float]]) -> list[str]:
    columns = list(next(iter(table.entries.values())))
    lines = [
        [name, *[spread(measured(row[column])) for column in columns]]
        for name, row in table.entries.items()
    ]
    text = [f"**{table.title}**", "", *markdown(["", *columns], lines), ""]
    if table.order:
        pairs = list(zip(table.order, table.order[1:], strict=False))
        told = [
            [f"{worse} < {better}"]
            + [
                _compared(measured(table.entries[worse][c]), measured(table.entries[better][c]))
                for c in columns
            ]
            for worse, better in pairs
        ]
        text += ["Does the order hold?", "", *markdown(["", *columns], told), ""]
    return text


def _compared(worse: Sequence[float], better: Sequence[float]) -> str:
    """Whether the second mean lies above the first, and by more than the larger deviation.

    Example:
        >>> _compared([0.5, 0.6], [0.9, 0.8]), _compared([0.5, 0.6], [0.5, 0.62])
        ('yes, +30.0', 'within one sd, +1.0')
    """
    difference = 100 * (statistics.fmean(better) - statistics.fmean(worse))
    deviation = 100 * max(map(statistics.stdev, (worse, better))) if len(worse) > 1 else 0.0
    if abs(difference) <= deviation:
        return f"within one sd, {difference:+.1f}"
    return f"{'yes' if difference > 0 else 'no'}, {difference:+.1f}"


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation in per cent.

    Example:
        >>> spread([0.5, 0.5]), spread([0.5, 0.6])
        ('50.0', '55.0 ± 7.1')
    """
    mean = 100 * statistics.fmean(values)
    if len(set(values)) == 1:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {100 * statistics.stdev(values):.1f}"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A table, line by line."""
    rule = ["---"] * len(head)
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *lines)]
