"""Texts, sequences and names as characters, words or k-mers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int, Num
from torch import Tensor

from reprogram.transformations.tokens.base import FIRST, UNKNOWN, SymbolReader, fitted
from reprogram.types import UserError

WORD = re.compile(r"\w+|[^\w\s]")


class Characters(SymbolReader):
    """A token for each character.

    Arguments:
        symbols: Single characters, each once.
        length: Tokens of a sample; what is longer is cut, and counted by :meth:`tally`.

    Raises:
        UserError: if a symbol is not one character, or stands twice.

    Example:
        >>> from reprogram.texts import encode
        >>> part = Characters.learn(["abba", "ab"], length=3)
        >>> part.symbols
        ['a', 'b']
        >>> part.prepare(encode(["ba", "cabs"]))
        tensor([[3, 2, 0],
                [1, 2, 3]])
    """

    points: Tensor
    order: Tensor

    def __init__(self, symbols: Sequence[str], length: int) -> None:
        super().__init__(symbols, length)
        for symbol in self.symbols:
            if len(symbol) != 1:
                raise UserError(f"argument 'symbols' holds {symbol!r}; give single characters")
        points, order = torch.tensor([ord(symbol) for symbol in self.symbols]).long().sort()
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("order", order + FIRST, persistent=False)

    def cut(self, text: str) -> list[str]:
        """The characters."""
        return list(text)

    def encoded(
        self, x: Num[Tensor, "batch characters"]
    ) -> tuple[Int[Tensor, "batch length"], Bool[Tensor, " batch"]]:
        """Ids, and which samples were cut: all characters at once."""
        x = x.long()
        ids = torch.full_like(x, UNKNOWN)
        if len(self.points):
            place = torch.searchsorted(self.points, x).clamp_max(len(self.points) - 1)
            ids = self.order[place].where(self.points[place] == x, UNKNOWN)
        ids = ids.where(x != 0, 0)
        ids[:, 0] = ids[:, 0].where(ids.any(1), UNKNOWN)  # an empty text
        return fitted(ids, self.length)


class Words(SymbolReader):
    """A token for each run of letters and digits, and for each other mark.

    Arguments:
        symbols: Words, each once.
        length: Tokens of a sample; what is longer is cut, and counted by :meth:`tally`.
        lower: Whether capitals are read as small letters.

    Example:
        >>> part = Words.learn(["What is it?", "It is what it is."], least=2)
        >>> part.symbols, part.length
        (['is', 'it', 'what'], 6)
    """

    def __init__(self, symbols: Sequence[str], length: int, *, lower: bool = True) -> None:
        super().__init__(symbols, length)
        self.lower = lower

    def cut(self, text: str) -> list[str]:
        """Words and marks."""
        return WORD.findall(text.lower() if self.lower else text)


class KMers(SymbolReader):
    """A token for each ``k`` letters of a sequence, without overlap unless asked for.

    Letters are read as capitals, white space is left out. What is left at the end is a shorter
    token. Any letter is taken: those beside ACGT, too, make symbols where training met them.

    Arguments:
        symbols: k-mers, each once.
        length: Tokens of a sample; what is longer is cut, and counted by :meth:`tally`.
        k: Letters of a token, 1 or more.
        stride: Letters from one token to the next, 1 to ``k``.

    Raises:
        UserError: for a number outside these ranges.

    Example:
        >>> KMers([], 1).cut("ACGTNA aC")
        ['ACG', 'TNA', 'AC']
        >>> KMers([], 1, k=3, stride=1).cut("ACGTA")
        ['ACG', 'CGT', 'GTA']
    """

    def __init__(self, symbols: Sequence[str], length: int, *, k: int = 3, stride: int = 3) -> None:
        super().__init__(symbols, length)
        if k < 1:
            raise UserError(f"argument 'k' is {k}; give a number of letters, 1 or more")
        if not 1 <= stride <= k:
            raise UserError(f"argument 'stride' is {stride}; give 1 to {k}, or letters are lost")
        self.k, self.stride = k, stride

    def cut(self, text: str) -> list[str]:
        """The k-mers, from the left."""
        letters = "".join(text.split()).upper()
        if not letters:
            return []
        behind_last = max(len(letters) - self.k, 0) + self.stride
        return [letters[i : i + self.k] for i in range(0, behind_last, self.stride)]

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, k={self.k}, stride={self.stride}"
