"""A line of the survey's table: tasks, sources, candidates and the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reprogram.search import Candidate

CONTROLS = ("majority", "linear_probe", "random_source", "scratch")


@dataclass(frozen=True)
class Row:
    """One line of the survey's table.

    Arguments:
        name: As ``reprogram reproduce`` knows it.
        paper: Authors, year, arXiv.
        figures: Accuracy of the paper in per cent by task URI; ``None`` where it has none.
        sources: URIs.
        published: The recipe as published, over the paper's grid; none where it stands among ours.
        ours: What we set beside it.
        notes: What differs from the paper.
        places: (source, task) pairs, where not every source meets every task, and the candidates
            that are tried there.
        controls: What stands beside the two fits.
        drawn: Whether untrained transformations differ by seed, and probes with them.
    """

    name: str
    paper: str
    figures: dict[str, float | None]
    sources: tuple[str, ...]
    published: tuple[Candidate, ...]
    ours: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()
    places: Mapping[tuple[str, str], tuple[Candidate, ...]] | None = None
    controls: tuple[str, ...] = CONTROLS
    drawn: bool = True

    @property
    def candidates(self) -> list[Candidate]:
        """All of them, each once."""
        apart = [c for among in (self.places or {}).values() for c in among]
        both = [*self.published, *self.ours, *apart]
        return [c for i, c in enumerate(both) if c not in both[:i]]
