"""Texts as the inputs of a task: checked, as code points, of one width."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reprogram.texts import PAIR, encode
from reprogram.types import InputSpec, Notation, UserError

LONGEST = 100_000  # characters; a longer text is a mistake, or a book
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1e\x7f\ud800-\udfff]")  # all but space and PAIR


def text_input(longest: int, notation: Notation = "") -> InputSpec:
    """What a task takes whose longest text has so many characters."""
    return InputSpec("text", (longest,), lower=0, upper=sys.maxunicode, notation=notation)


def text_inputs(texts: Sequence[Any], rows: Sequence[str]) -> Tensor:
    """Texts as code points (n, characters of the longest), int32, checked.

    Raises:
        UserError: if a text is none, empty, longer than 100,000 characters, or holds a control
            character, naming its row.

    Example:
        >>> text_inputs(["ab", "a"], ["x.csv:2", "x.csv:3"]).tolist()
        [[97, 98], [97, 0]]
        >>> text_inputs(["ab", " "], ["x.csv:2", "x.csv:3"])
        Traceback (most recent call last):
        reprogram.types.UserError: row x.csv:3 is empty; write its text, or remove the row
    """
    for row, text in zip(rows, texts, strict=True):
        if not isinstance(text, str):
            raise UserError(f"row {row} is {text!r:.40}, no text; pass strings")
        if not text.replace(PAIR, " ").strip():
            raise UserError(f"row {row} is empty; write its text, or remove the row")
        if len(text) > LONGEST:
            raise UserError(f"row {row} has {len(text)} characters, at most {LONGEST} are taken; "
                            "cut it into parts")  # fmt: skip
        if (found := _CONTROL.search(text)) is not None:
            raise UserError(f"row {row}, character {found.start() + 1} is {found[0]!r}, which "
                            "stands in no text; remove it, or check the encoding")  # fmt: skip
    return encode(texts)


def widened(points: Tensor, longest: int) -> Tensor:
    """The same texts, filled up to so many characters."""
    return torch.nn.functional.pad(points, (0, longest - points.shape[1]))
