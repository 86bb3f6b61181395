"""What ``reprogram reproduce`` measures: the papers' rows, and grids of our own."""

from __future__ import annotations

from reprogram.grid import Grid
from reprogram.rows.base import Row
from reprogram.rows.black_box import BLACK_BOX
from reprogram.rows.language import INFILL, MOLECULES, NAMES, QUESTIONS, SPLICE, WARP
from reprogram.rows.made import AUTOMATA, GENERATORS
from reprogram.rows.white_box import AR, ELSAYED, FRAUD, MAPPING_GRID, V2S
from reprogram.types import nearest

__all__ = ["GRIDS", "ROWS", "Row", "find_row"]

ROWS = {row.name: row for row in (V2S, AR, ELSAYED)}
_LANGUAGE = (NAMES, QUESTIONS, SPLICE, MOLECULES, WARP, INFILL)
_MADE = (GENERATORS, AUTOMATA)
GRIDS = {grid.name: grid for grid in (MAPPING_GRID, FRAUD, BLACK_BOX, *_LANGUAGE, *_MADE)}


def find_row(name: str) -> Row | Grid:
    """The row or grid of that name.

    Raises:
        UserError: for an unknown one, with the nearest names.
    """
    known = {**ROWS, **GRIDS}
    if name not in known:
        raise nearest("row", name, known)
    return known[name]
