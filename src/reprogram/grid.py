"""Tables of measurements that are no choice: every cell is fitted and shown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from reprogram.bench import Bench, Cell

Numbers = Mapping[str, Any]
NUMBERS = ("fid", "intra_fid", "mse", "mse_untouched")  # metrics that are no share


@dataclass(frozen=True)
class Entry:
    """What stands in one place of a table.

    Arguments:
        source: URI.
        task: URI.
        recipe: Its name.
        numbers: What differs from the recipe's defaults.
        kind: ``fit``, or the name of a control.
        metric: Which of its metrics on test; behind a blank, of which run and step of a
            ``stability``.
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
        entries: Row name -> column name -> entry; the first row has every column.
        order: Rows in the order that a paper claims, worst first: a second table then tells of each
            neighbouring pair whether it holds.
        against: A row whose last column is a mark: it is told where the others first reach it.
        seeds: How many of the seeds at most, where a cell is dear; the title then says so.
    """

    title: str
    entries: Mapping[str, Mapping[str, Entry]]
    order: Sequence[str] = ()
    against: str | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Grid:
    """Tables under one name.

    Arguments:
        name: As ``reprogram reproduce`` knows it.
        title: What is shown.
        tables: In order.
        notes: What a reader must know.
        exports: ONNX sources that are written first, and the source that each is an export of;
            ``{folder}`` stands for the grid's own.
    """

    name: str
    title: str
    tables: Sequence[Table]
    notes: Sequence[str] = ()
    exports: Mapping[str, str] = field(default_factory=dict)


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

    place = Path(folder) / grid.name
    _export(grid, place)
    tables = [(t, [e for row in t.entries.values() for e in row.values()]) for t in grid.tables]
    uris = {e.source: e.source.format(folder=place) for _, entries in tables for e in entries}
    prints = {uri: load_source(uri).fingerprint() for uri in set(uris.values())}

    def cell(entry: Entry, seed: int) -> Cell:
        uri = uris[entry.source]
        numbers = dict(entry.numbers)
        return Cell(entry.kind, uri, prints[uri], entry.task, entry.recipe, numbers, seed)

    bench = Bench(place, jobs, tell)
    cells = [cell(e, s) for table, entries in tables for s in seeds[: table.seeds] for e in entries]
    values = bench.run(cells)

    def measured(entry: Entry, own: Sequence[int]) -> list[float]:
        found = [values[cell(entry, seed).file] for seed in own]
        return [value.get("test", value)[entry.metric] for value in found]

    text = [
        f"## {grid.name}",
        "",
        f"{grid.title} Written by `reprogram reproduce {grid.name}`; on test, in per cent, mean ± "
        f"standard deviation over seeds {', '.join(map(str, seeds))}.",
        "",
    ]
    for table in grid.tables:
        own = seeds[: table.seeds]
        fewer = f" (seed {', '.join(map(str, own))})" * (len(own) < len(seeds))
        text += _section(table, fewer, partial(measured, own=own))
    return "\n".join([*text, *[f"- {note}" for note in grid.notes], ""])


def _export(grid: Grid, place: Path) -> None:
    """Write the ONNX files that are not there yet."""
    from reprogram.sources import load as load_source
    from reprogram.sources.onnx_export import export_onnx

    for uri, original in grid.exports.items():
        file = Path(uri.format(folder=place).removeprefix("onnx:"))
        if not file.is_file():
            export_onnx(load_source(original), file)


def _section(table: Table, fewer: str, measured: Callable[[Entry], list[float]]) -> list[str]:
    columns = list(next(iter(table.entries.values())))

    def shown(entry: Entry) -> str:
        return spread(measured(entry), share=entry.metric.rpartition(" ")[2] not in NUMBERS)

    lines = [
        [name, *[shown(row[column]) if column in row else "" for column in columns]]
        for name, row in table.entries.items()
    ]
    text = [f"**{table.title}{fewer}**", "", *markdown(["", *columns], lines), ""]
    if table.against:
        text += [_reached(table, measured), ""]
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


def _reached(table: Table, measured: Callable[[Entry], list[float]]) -> str:
    """Where each row first reaches the last column of the one that it is held against."""
    means = {
        name: {column: statistics.fmean(measured(entry)) for column, entry in row.items()}
        for name, row in table.entries.items()
    }
    mark = list(means[str(table.against)].values())[-1]
    told = [
        f"{name} at {next((c for c, value in row.items() if value >= mark), 'none')}"
        for name, row in means.items()
        if name != table.against
    ]
    return f"{table.against} ends at {100 * mark:.1f}; reached by: {', '.join(told)}."


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


def spread(values: Sequence[float], *, share: bool = True) -> str:
    """Mean and standard deviation, in per cent where they are shares.

    Example:
        >>> spread([0.5, 0.5]), spread([0.5, 0.6])
        ('50.0', '55.0 ± 7.1')
        >>> spread([0.00021, 0.00023], share=False), spread([76.2, 80.4], share=False)
        ('0.00022 ± 0.00001', '78.3 ± 3.0')
    """
    scale = 100 if share else 1
    mean = scale * statistics.fmean(values)
    digits = 1 if share or abs(mean) >= 1 else 5
    if len(set(values)) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {scale * statistics.stdev(values):.{digits}f}"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A table, line by line."""
    rule = ["---"] * len(head)
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *lines)]
