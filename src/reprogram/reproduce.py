"""A paper's table in one command: its number, ours, and the controls, resumable cell by cell.

A row of the survey is a set of tasks, of sources, and of candidates: the recipe as published with
the paper's own grid, and ours. Candidates are compared by :func:`reprogram.search.validate`, which
never reads test; what it chooses is fitted under every seed and measured once on test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from reprogram.bench import Bench, Cell, accuracy_of
from reprogram.files import atomic_write
from reprogram.grid import markdown, spread
from reprogram.rows import GRIDS, ROWS, Row
from reprogram.search import Candidate


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
    among = {place: (*row.published, *row.ours) for place in places}
    if row.places is not None:
        among = {place: tried for place, tried in row.places.items() if place in places}

    def cell(kind: str, source: str, task: str, candidate: Candidate, seed: int = 0) -> Cell:
        # What a control does not depend on stays out of its name, so that it is computed once.
        if kind in ("majority", "scratch"):
            source, candidate = sources[0], row.candidates[0]
        probe = kind in ("readout", "linear_probe") and not row.drawn
        seed = 0 if kind == "majority" or probe else seed
        numbers = candidate.numbers
        return Cell(kind, source, prints[source], task, candidate.recipe, numbers, seed)

    trials = [(place, candidate) for place in among for candidate in among[place]]
    validated = bench.run(cell("validate", *place, candidate) for place, candidate in trials)

    def chosen(source: str, task: str, among: Sequence[Candidate]) -> Candidate:
        def order(candidate: Candidate) -> tuple[float, float]:
            value = validated[cell("validate", source, task, candidate).file]
            return value["accuracy"], -value["loss"]

        return max(among, key=order)

    best = {p: chosen(*p, row.ours or among[p]) for p in among}
    published = {p: chosen(*p, row.published) for p in among if row.published}
    picks = [*best.items(), *published.items()]
    final = [cell("fit", *place, candidate, seed) for place, candidate in picks for seed in seeds]
    final += [cell(k, *p, best[p], seed) for p in among for k in row.controls for seed in seeds]
    values = bench.run(final)

    def over_seeds(kind: str, place: tuple[str, str], candidate: Candidate) -> str:
        found = [values[cell(kind, *place, candidate, seed).file] for seed in seeds]
        return spread([accuracy_of(value) for value in found])

    lines = []
    for place, ours in best.items():
        figure = row.figures.get(place[1])
        as_published = []
        if published:
            as_published = [over_seeds("fit", place, published[place]), f"`{published[place]}`"]
        validation = validated[cell("validate", *place, ours).file]["accuracy"]
        lines.append([
            place[1], place[0], "" if figure is None else f"{figure:g}",
            over_seeds("fit", place, ours), *as_published[:1],
            *[over_seeds(kind, place, ours) for kind in row.controls],
            f"`{ours}`", f"{100 * validation:.1f}", *as_published[1:],
        ])  # fmt: skip
    fits = [v for name, v in values.items() if name.startswith("fit-")]
    return _section(row, lines, fits, list(seeds), list(among), validated, cell)


def _section(
    row: Row,
    lines: list[list[str]],
    fits: list[dict[str, Any]],
    seeds: list[int],
    places: list[tuple[str, str]],
    validated: dict[str, dict[str, Any]],
    cell: Callable[..., Cell],
) -> str:
    head = ["task", "source", "paper", "ours", *["as published"] * bool(row.published),
            *[kind.replace("_", " ") for kind in row.controls],
            "ours is", "its validation", *["published is"] * bool(row.published)]  # fmt: skip

    def validation(place: tuple[str, str], candidate: Candidate) -> str:
        found = validated.get(cell("validate", *place, candidate).file)
        return "" if found is None else f"{100 * found['accuracy']:.1f}"

    tried = [[f"`{c}`", *[validation(p, c) for p in places]] for c in row.candidates]
    largest = max(v["program_bytes"] for v in fits)
    unchanged = all(v["source_unchanged"] for v in fits)
    return "\n".join([
        f"## {row.name}",
        "",
        f"{row.paper}. Written by `reprogram reproduce {row.name}`; test accuracy in per cent, mean"
        f" ± standard deviation over seeds {', '.join(map(str, seeds))}.",
        "",
        *markdown(head, lines),
        "",
        *[f"- {note}" for note in row.notes],
        "- \"Ours\" is the candidate that validates best among ours"
        + (", \"as published\" among the published recipe's" if row.published else "")
        + "; it is fitted with the recipe's defaults otherwise. Readout, linear probe and random "
        "source stand under ours.",
        f"- Largest program: {largest / 1000:.1f} kB. Source fingerprints unchanged by every fit: "
        f"{'yes' if unchanged else 'NO'}.",
        "",
        "What was tried, by accuracy on validation (per cent):",
        "",
        *markdown(["candidate", *[f"{t} on {s}" for s, t in places]], tried),
        "",
    ])  # fmt: skip


def write(section: str, name: str, file: str | Path) -> None:
    """Put a row's or a grid's section into a results file, in place of the one that is there."""
    file = Path(file)
    title = "# Results\n\nWritten by `reprogram reproduce`, never by hand.\n"
    text = file.read_text() if file.is_file() else title
    head, *sections = text.split("\n## ")
    kept = [s for s in sections if s.split("\n", 1)[0].strip() != name]
    kept.append(section.removeprefix("## "))
    kept.sort(key=lambda s: [*ROWS, *GRIDS].index(s.split("\n", 1)[0].strip()))
    whole = "\n## ".join(part.rstrip() + "\n" for part in (head, *kept))
    with atomic_write(file) as temporary:
        temporary.write_text(whole)
