"""Requests sent from threads, with retries: no answer is lost, and each attempt is accounted."""

from __future__ import annotations

import queue
import random
import threading
from collections import Counter, deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from reprogram.sources.adapter import Adapter
from reprogram.sources.attempt import Outcome, Secrets, attempt
from reprogram.sources.encoding import body
from reprogram.sources.ledger import BudgetSpent, Ledger
from reprogram.types import UserError

if TYPE_CHECKING:
    import httpx

LONGEST = 60.0  # seconds of back-off


def pause(stop: threading.Event, seconds: float) -> None:
    """Wait, unless everything stops."""
    stop.wait(seconds)


class Exchange:
    """One batch on its way: requests handed to threads, answers handed back as they come.

    Arguments:
        client: Of httpx; safe to use from several threads.
        adapter: How the model is asked.
        secrets: The headers.
        samples: As JSON values.
        ledger: The account.
    """

    def __init__(
        self, client: httpx.Client, adapter: Adapter, secrets: Secrets, samples: list[Any],
        ledger: Ledger,
    ) -> None:  # fmt: skip
        self.client, self.adapter, self.secrets = client, adapter, secrets
        self.samples, self.ledger = samples, ledger
        self.waiting = deque(range(0, len(samples), adapter.batch))  # first rows of requests
        self.done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.flying = 0  # samples that are reserved and not yet settled
        self.left = False

    def answers(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(rows, log-scores) of each request; then the first failure, if there was one."""
        running = min(self.adapter.concurrency, len(self.waiting))
        failure: BaseException | None = None
        try:
            for _ in range(running):
                # A daemon does not keep an interrupted process waiting for its reply.
                threading.Thread(target=self._work, daemon=True).start()
            while running:
                told = self.done.get()
                running -= told is None
                if isinstance(told, tuple):
                    yield told
                elif told is not None:
                    failure = failure or told
        except KeyboardInterrupt:
            self.leave()
            yield from self._arrived()
            raise
        finally:
            self.leave()
        if failure is not None:
            raise failure

    def leave(self) -> None:
        """Wait for nothing more: what is in flight may be billed."""
        with self.lock:
            self.stop.set()
            self.left = True
            self.ledger.lost(self.flying)
            self.flying = 0

    def _arrived(self) -> Iterator[tuple[Tensor, Tensor]]:
        while not self.done.empty():
            told = self.done.get()
            if isinstance(told, tuple):
                yield told

    def _work(self) -> None:
        try:
            while (start := self._next()) is not None:
                self._request(start, self.samples[start : start + self.adapter.batch])
        except BaseException as error:
            if not isinstance(error, BudgetSpent):  # others may still be answered within it
                self.stop.set()
            self.done.put(error)
        finally:
            self.done.put(None)

    def _next(self) -> int | None:
        with self.lock:
            return self.waiting.popleft() if self.waiting and not self.stop.is_set() else None

    def _request(self, start: int, samples: list[Any]) -> None:
        """Attempts until an answer is handed back, or everything stops."""
        content = body(samples, self.adapter)
        jitter = random.Random(content)
        met: Counter[str] = Counter()
        outcome = None
        for number in range(self.adapter.retries + 1):
            if outcome is not None:
                backoff = min(LONGEST, self.adapter.backoff * 2 ** (number - 1))
                pause(self.stop, max(outcome.wait, backoff * jitter.uniform(0.5, 1)))
            if not self._reserve(len(samples)):
                return
            outcome = attempt(self.client, self.adapter, self.secrets, content, len(samples))
            self._settle(start, len(samples), outcome)
            if outcome.output is not None:
                return
            met[outcome.reason] += 1
            if outcome.final:
                break
        what = ", ".join(f"{reason} ({n} times)" if n > 1 else reason for reason, n in met.items())
        said = f"; its last reply: {outcome.said}" if outcome and outcome.said else ""
        raise UserError(
            f"source {self.adapter.url.partition('?')[0]} gave no answer to a request: {what}"
            f"{said}; answers that came are kept, and --resume goes on"
        )

    def _reserve(self, n: int) -> bool:
        with self.lock:
            if self.stop.is_set():
                return False
            self.ledger.reserve(n)
            self.flying += n
            return True

    def _settle(self, start: int, n: int, outcome: Outcome) -> None:
        """Tell the ledger, and hand an answer back in the same breath; too late if all was left."""
        with self.lock:
            if self.left:
                return
            self.flying -= n
            getattr(self.ledger, outcome.fate)(n)
            if outcome.output is not None:
                self.done.put((torch.arange(start, start + n), outcome.output))
