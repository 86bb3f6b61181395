"""What every part that cuts texts into tokens shares."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int, Num
from torch import Tensor
from torch.nn import functional as F

from reprogram.texts import PAIR, decode
from reprogram.transformations.base import Transformation
from reprogram.types import InputSpec, SourceLike, TaskSpec, UserError

FILLING, UNKNOWN, FIRST = 0, 1, 2  # ids: nothing, what training never met, the first symbol
KEPT = 2**16  # texts of which the tokens are remembered


class Reader(Transformation):
    """Texts (batch, characters) of code points -> ids (batch, length) of their tokens.

    There is nothing to train: :meth:`prepare` does the work, once a sample.

    Arguments:
        length: Tokens of a sample, 1 or more; what is longer is cut, and counted by :meth:`tally`.

    Raises:
        UserError: for a length below 1.
    """

    filling: int = FILLING
    unknown: int = UNKNOWN

    def __init__(self, length: int) -> None:
        super().__init__()
        if length < 1:
            raise UserError(f"argument 'length' is {length}; give a number of tokens, 1 or more")
        self.length = length
        self._known: dict[str, list[int]] = {}

    def read(self, text: str) -> list[int]:
        """Ids of all tokens of a text."""
        raise NotImplementedError

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Check that texts come in, and that the source takes so many tokens.

        Raises:
            UserError: if not.
        """
        name = type(self).__name__
        if task.input.kind != "text":
            raise UserError(f"{name} reads texts; {task.name} is {task.input.kind!r}")
        most = room(source)
        if most is not None and self.length > most:
            raise UserError(
                f"argument 'length' of {name} is {self.length}; source {source.uri or 'given'} "
                f"takes {most} tokens of a text: give {most} or less"
            )
        self._known.clear()

    def encoded(
        self, x: Num[Tensor, "batch characters"]
    ) -> tuple[Int[Tensor, "batch length"], Bool[Tensor, " batch"]]:
        """Ids, and which samples were cut. A text without any token is one unknown token."""
        if len(self._known) > KEPT:
            self._known.clear()
        texts = decode(x)
        for text in texts:
            if text not in self._known:
                self._known[text] = self.read(text) or [self.unknown]
        rows = [self._known[text] for text in texts]
        filled = [row[: self.length] + [self.filling] * (self.length - len(row)) for row in rows]
        ids = torch.tensor(filled, dtype=torch.long).reshape(len(rows), self.length)
        cut = torch.tensor([len(row) > self.length for row in rows], dtype=torch.bool)
        return ids.to(x.device), cut.to(x.device)

    def prepare(self, x: Num[Tensor, "batch characters"]) -> Int[Tensor, "batch length"]:
        """The ids."""
        return self.encoded(x)[0]

    def forward(self, prepared: Int[Tensor, "batch length"]) -> Int[Tensor, "batch length"]:
        """As prepared."""
        return prepared

    def tally(self, x: Num[Tensor, "batch characters"]) -> dict[str, int]:
        """Totals over a target batch: ``tokens`` that are read, ``unknown`` ones among them, and
        samples that were ``cut``."""
        ids, cut = self.encoded(x)
        return {
            "tokens": int((ids != self.filling).sum()),
            "unknown": int((ids == self.unknown).sum()),
            "cut": int(cut.sum()),
        }

    def after(self, task: TaskSpec) -> TaskSpec:
        """A task of token ids."""
        spec = InputSpec("tokens", (self.length,), lower=0, upper=self.size - 1)
        return dataclasses.replace(task, input=spec)

    @property
    def size(self) -> int:
        """Ids there are."""
        raise NotImplementedError


class SymbolReader(Reader):
    """Tokens out of a list of symbols: ids are 0 where nothing stands, 1 for what the list lacks,
    2 for the first symbol and so on.

    Arguments:
        symbols: Each once.
        length: See :class:`Reader`.

    Raises:
        UserError: if a symbol is no string or stands twice.
    """

    def __init__(self, symbols: Sequence[str], length: int) -> None:
        super().__init__(length)
        self.symbols = list(symbols)
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols, FIRST)}
        for i, symbol in enumerate(self.symbols, FIRST):
            if not isinstance(symbol, str) or self._ids[symbol] != i:
                what = "twice" if isinstance(symbol, str) else "which is no string"
                raise UserError(f"argument 'symbols' holds {symbol!r} {what}; give strings that "
                                "differ")  # fmt: skip

    @property
    def size(self) -> int:
        """Ids there are."""
        return FIRST + len(self.symbols)

    def cut(self, text: str) -> list[str]:
        """The tokens of one text, of a pair's half."""
        raise NotImplementedError

    def tokens(self, text: str) -> list[str]:
        """The tokens of a text; between the two of a pair stands ``texts.PAIR``."""
        first, *rest = text.split(PAIR)
        return [*self.cut(first), *(token for part in rest for token in [PAIR, *self.cut(part)])]

    def read(self, text: str) -> list[int]:
        """Ids of all tokens of a text."""
        return [self._ids.get(token, UNKNOWN) for token in self.tokens(text)]

    @classmethod
    def learn(
        cls, texts: Sequence[str], *, least: int = 1, length: int | None = None,
        most: int | None = None, **numbers: Any,
    ) -> SymbolReader:  # fmt: skip
        """The part whose symbols are the tokens of these texts, the most frequent first.

        Arguments:
            texts: Those of training.
            least: Times that a symbol must be met, 1 or more; others are unknown.
            length: Tokens of a sample; ``None`` for those of the longest text.
            most: Tokens that the source takes (:func:`room`), where ``length`` is ``None``.
            **numbers: Further arguments of the part.
        """
        part = cls([], 1, **numbers)
        rows = [part.tokens(text) for text in texts]
        counts = Counter(token for row in rows for token in row)
        known = [token for token, count in counts.items() if count >= least]
        symbols = sorted(known, key=lambda token: (-counts[token], token))
        if length is None:
            length = max([1, *map(len, rows)])
            length = length if most is None else min(length, most)
        return cls(symbols, length, **numbers)

    def extra_repr(self) -> str:
        return f"{len(self.symbols)} symbols, length={self.length}"


def room(source: SourceLike) -> int | None:
    """Tokens that a source takes of a text: less those that it puts before and behind; ``None``
    where it takes no tokens."""
    if source.input.kind not in ("tokens", "embeddings"):
        return None
    tokenizer = source.lexicon.tokenizer if source.lexicon is not None else None
    around = [] if tokenizer is None else [tokenizer.start, tokenizer.end]
    return source.input.shape[0] - sum(index is not None for index in around)


def fitted(ids: Int[Tensor, "batch longest"], length: int) -> tuple[Tensor, Tensor]:
    """Ids (batch, length) of symbols, cut or filled up, and whether they were cut (batch,)."""
    cut = (ids[:, length:] != FILLING).any(1)
    return F.pad(ids, (0, length - ids.shape[1]), value=FILLING), cut
