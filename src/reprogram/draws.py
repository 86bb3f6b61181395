"""Random numbers that repeat: torch's generators seeded for a while, and then as before.

This module imports nothing of the package.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def forked_rng(seed: int, step: int) -> Iterator[None]:
    """Torch's generators seeded by (seed, step) inside, as they were outside.

    Example:
        >>> with forked_rng(0, 1):
        ...     a = torch.rand(3)
        >>> with forked_rng(0, 1):
        ...     b = torch.rand(3)
        >>> torch.equal(a, b)
        True
    """
    number = hash((seed, step)) % 2**63
    with torch.random.fork_rng():
        # torch.manual_seed writes down the stack for each kind of device that is not there
        torch.default_generator.manual_seed(number)
        if torch.cuda.is_initialized():
            torch.cuda.manual_seed_all(number)
        if torch.backends.mps.is_available():
            torch.mps.manual_seed(number)
        yield
