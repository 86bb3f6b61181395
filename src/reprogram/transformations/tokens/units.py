"""What a text may be read by, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from reprogram.transformations.tokens.base import SymbolReader
from reprogram.transformations.tokens.chemistry import SelfiesTokens, SmilesTokens
from reprogram.transformations.tokens.plain import Characters, KMers, Words
from reprogram.types import Notation, nearest

UNITS: dict[str, Callable[..., SymbolReader]] = {
    "characters": Characters.learn,
    "words": Words.learn,
    **{f"{k}-mers": partial(KMers.learn, k=k, stride=k) for k in range(1, 7)},
    "smiles": SmilesTokens.learn,
    "selfies": SelfiesTokens.learn,
}
USUAL: dict[Notation, str] = {"": "words", "sequence": "3-mers", "smiles": "smiles"}


def learned(
    units: str | None, texts: Sequence[str], *, notation: Notation = "", least: int = 1,
    length: int | None = None, most: int | None = None,
) -> SymbolReader:  # fmt: skip
    """The part that reads such units, its symbols learned from texts.

    Arguments:
        units: ``characters``, ``words``, ``1-mers`` to ``6-mers`` (without overlap), ``smiles`` or
            ``selfies``; ``None`` for what is usual in the notation: words, 3-mers, SMILES tokens.
        texts: Those of training.
        notation: Of the texts.
        least: Times that a symbol must be met, 1 or more; others are unknown.
        length: Tokens of a sample; ``None`` for those of the longest text.
        most: Tokens that the source takes, where ``length`` is ``None``.

    Raises:
        UserError: for unknown units.

    Example:
        >>> learned("3-mers", ["ACGTAC", "ACGGGG"], least=2)
        KMers(1 symbols, length=2, k=3, stride=3)
    """
    units = USUAL[notation] if units is None else units
    if units not in UNITS:
        raise nearest("unit", units, UNITS)
    return UNITS[units](texts, least=least, length=length, most=most)
