"""A source with an account: every query counted, paid for once, and within the budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reprogram.sources.answers import Answers
from reprogram.sources.base import Source
from reprogram.sources.ledger import Ledger
from reprogram.types import Batch, rows, select


class Metered(Source):
    """Another source whose queries are counted, limited and, without a gradient, remembered.

    It is the same source to everyone who asks: same specifications, fingerprint and URI.

    Arguments:
        source: Whatever answers.
        ledger: The account; a new one without limit if absent.

    Example:
        >>> from reprogram.sources import Ledger, load
        >>> source = Metered(load("zoo:images"), Ledger(budget=100))
        >>> source(torch.rand(8, 3, 32, 32)).shape, source.ledger.spent
        (torch.Size([8, 10]), 8)
    """

    ledger: Ledger

    def __init__(self, source: Source, ledger: Ledger | None = None) -> None:
        super().__init__()
        self.source, self.ledger = source, ledger or Ledger()
        self.gradient, self.scores, self.open = source.gradient, source.scores, source.open
        self.input, self.output, self.uri = source.input, source.output, source.uri
        self.lexicon, self.random = source.lexicon, source.random
        self.vocabulary, self.shows_features = source.vocabulary, source.shows_features
        self.answers: Answers | None = None
        self._prefix: bytes | None = None

    def remember(self, path: str | Path, run: str, *, resume: bool = True) -> None:
        """Keep answers and ledger in a file, and go on from what stands there.

        Arguments:
            path: An SQLite file, made if absent.
            run: A name for the ledger in it; the answers serve every run on this source.
            resume: Whether the run goes on, with what it has spent before; else it begins anew.
        """
        self.forget()
        self.answers = Answers(path, run)
        if resume:
            self.answers.load(self.ledger)

    def forget(self) -> None:
        """Let go of the file."""
        if self.answers is not None:
            self.answers.close()
            self.answers = None

    def forward(self, x: Batch) -> Tensor:
        """(batch, *input.shape) -> (batch, *output.shape); a query for each sample not yet known.

        Raises:
            BudgetSpent: if the queries would pass the budget; answers that came before are kept.
        """
        if self.gradient:
            return self._counted(x, self.source)
        with torch.no_grad():
            return self._answered(x)

    def _counted(self, x: Batch, function: Callable[..., Any]) -> Any:
        n = rows(x)
        self.ledger.reserve(n)
        try:
            output = function(x)
        except BaseException:
            self.ledger.refused(n)
            raise
        self.ledger.answered(n)
        return output

    def _answered(self, x: Batch) -> Tensor:
        n = rows(x)
        outputs: list[Tensor | None] = [None] * n
        places = [[i] for i in range(n)]  # of each sample to be asked: where its answer goes
        keys: list[bytes] = []
        if self.answers is not None:
            keys = self.keys(x)
            for place, output in self.answers.get(keys).items():
                outputs[place] = output
            unknown: dict[bytes, list[int]] = {}
            for place, key in enumerate(keys):
                if outputs[place] is None:
                    unknown.setdefault(key, []).append(place)
            places, keys = list(unknown.values()), list(unknown)
            self.ledger.recalled += n - len(places)
        if places:
            self.ledger.check(len(places))  # a call that cannot be paid whole is not begun
            try:
                asked = select(x, torch.tensor([p[0] for p in places]))
                for index, output in self.source.ask(asked, self.ledger):
                    if self.answers is not None:
                        self.answers.put([keys[i] for i in index], output, self.ledger)
                    for i, row in zip(index.tolist(), output, strict=True):
                        for place in places[i]:
                            outputs[place] = row
            finally:
                if self.answers is not None:  # what was lost is spent, too
                    self.answers.save(self.ledger)
        device = x.device if isinstance(x, Tensor) else x.values.device
        if not n:
            return torch.zeros(0, *self.output.shape, device=device)
        return torch.stack([o.to(device) for o in outputs if o is not None])

    def features(self, x: Batch) -> Tensor | None:
        """The source's; what it computes for them is a query like any other."""
        return self._counted(x, self.source.features) if self.shows_features else None

    def door(self, name: str) -> Metered:
        """The same account at another door."""
        return self._like(self.source.door(name))

    def exit(self, name: str) -> Metered:
        """The same account at another exit."""
        return self._like(self.source.exit(name))

    def with_classes(self, names: Sequence[str], templates: Sequence[str] = ()) -> Metered:
        """The same account of the source with these classes."""
        given = (names, templates) if templates else (names,)
        return self._like(self.source.with_classes(*given))  # pyright: ignore

    def keys(self, x: Batch) -> list[bytes]:
        """The source's, told apart from those of other sources and doors."""
        if self._prefix is None:
            self._prefix = self.source.fingerprint().encode()
        return [self._prefix + key for key in self.source.keys(x)]

    def fingerprint(self) -> str:
        """The source's."""
        return self.source.fingerprint()

    def randomised(self, seed: int, batch: Batch | None = None) -> Source:
        """The source's random control, which costs nothing."""
        return self.source.randomised(seed, batch)

    def _like(self, source: Source) -> Metered:
        same = Metered(source, self.ledger)
        same.answers = self.answers
        return same


def bare(source: Source) -> Source:
    """The source without its account."""
    return source.source if isinstance(source, Metered) else source


def metered(source: Source) -> Metered:
    """The source with an account: its own, or a new one.

    Example:
        >>> from reprogram.sources import load
        >>> source = metered(load("zoo:images"))
        >>> metered(source) is source
        True
    """
    return source if isinstance(source, Metered) else Metered(source)
