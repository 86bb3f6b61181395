"""What a source was asked and what that costs: one account, whoever asks."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from reprogram.types import UserError


class BudgetSpent(UserError):
    """The next queries would pass the budget; none of them was sent."""


class Ledger:
    """Queries counted sample by sample, and a budget that is stopped at before it is passed.

    A query is one forward of one sample. Whoever sends some reserves them first, then tells what
    became of them: :meth:`answered`, :meth:`lost` (sent, and no usable answer came back: they may
    have been billed, so they count as spent) or :meth:`refused` (the other side says it computed
    nothing: they are free again). Safe to use from several threads.

    Attributes:
        queries: Answered.
        unanswered: Lost.
        recalled: Answers found in a cache, which cost nothing.

    Arguments:
        budget: Most queries that may be spent; ``None`` for no limit.
        price: Of a thousand queries, in whatever currency.

    Raises:
        UserError: if the budget or the price is negative or not finite.

    Example:
        >>> ledger = Ledger(budget=10, price=1.5)
        >>> ledger.reserve(8)
        >>> ledger.answered(8)
        >>> ledger.spent, ledger.left, ledger.cost
        (8, 2, 0.012)
        >>> ledger.reserve(3)
        Traceback (most recent call last):
        ...
        reprogram.sources.ledger.BudgetSpent: 3 more queries would pass the budget of 10: ...
    """

    def __init__(self, *, budget: int | None = None, price: float = 0.0) -> None:
        if budget is not None and budget < 0:
            raise UserError(f"argument 'budget' is {budget}; give a number of queries, 0 or more")
        if not 0 <= price < math.inf:
            raise UserError(f"argument 'price' is {price}; give what a thousand queries cost")
        self.budget, self.price = budget, price
        self.queries = self.unanswered = self.recalled = self._kept = self._reserved = 0
        self._lock = threading.Lock()

    @property
    def spent(self) -> int:
        """Queries that were answered or may have been billed."""
        return self.queries + self.unanswered

    @property
    def left(self) -> float:
        """What the budget still allows; infinite without one."""
        if self.budget is None:
            return math.inf
        return self.budget - self.spent - self._reserved - self._kept

    @property
    def cost(self) -> float:
        """Of what was spent."""
        return self.spent * self.price / 1000

    def reserve(self, n: int) -> None:
        """Set queries aside before they are sent.

        Raises:
            BudgetSpent: if they would pass the budget; then none is set aside.
        """
        with self._lock:
            self.check(n)
            self._reserved += n

    def check(self, n: int) -> None:
        """Whether so many could be reserved.

        Raises:
            BudgetSpent: if they would pass the budget.
        """
        if n > self.left:
            raise BudgetSpent(
                f"{n} more queries would pass the budget of {self.budget}: {self.spent} are spent; "
                "raise the budget and resume"
            )

    @contextmanager
    def keeping(self, n: int) -> Iterator[None]:
        """Inside, so many queries of the budget are not to be touched: something else wants them.

        Example:
            >>> ledger = Ledger(budget=10)
            >>> with ledger.keeping(4):
            ...     ledger.left
            6
        """
        before, self._kept = self._kept, n
        try:
            yield
        finally:
            self._kept = before

    def answered(self, n: int) -> None:
        """Reserved queries came back with an answer."""
        with self._lock:
            self._reserved -= n
            self.queries += n

    def lost(self, n: int) -> None:
        """Reserved queries were sent, and nothing usable came back."""
        with self._lock:
            self._reserved -= n
            self.unanswered += n

    def refused(self, n: int) -> None:
        """Reserved queries were turned away uncomputed."""
        with self._lock:
            self._reserved -= n
