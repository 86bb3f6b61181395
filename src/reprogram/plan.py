"""What a run will ask of its source, before it asks anything."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """What the parts of a run ask for, in queries: one source forward of one sample each.

    Arguments:
        rows: Training samples.
        batch: Samples in a step.
        epochs: Passes over the training split, at most.
        evaluations: Forwards of each sample in a step.
        calibration: Further ones in the first step.
        passes: Passes over the training split that the mapping asks for, by the number of epochs.
        validation: Validation samples.
        validations: How often they are measured; ``None`` for after every epoch.
        start: Whether they are measured before the first step, too.
        after: What must be left at the end: the test samples, the controls.
    """

    rows: int
    batch: int
    epochs: int
    evaluations: int
    calibration: int
    passes: tuple[int, ...]
    validation: int
    validations: int | None
    start: bool
    after: int

    @property
    def per_epoch(self) -> int:
        """Steps of an epoch."""
        return math.ceil(self.rows / self.batch)

    def marks(self, steps: int) -> set[int]:
        """After which of so many steps validation is measured: the last is among them.

        Example:
            >>> costs = Costs(10, 4, 9, 1, 0, (0,) * 10, 5, None, True, 0)
            >>> sorted(costs.marks(7))
            [3, 6, 7]
        """
        if not self.validations:
            return {*range(self.per_epoch, steps + 1, self.per_epoch), steps}
        return {math.ceil(steps * (i + 1) / self.validations) for i in range(self.validations)}

    def training(self, steps: int) -> int:
        """Of so many steps, and of the mapping's passes."""
        epochs, rest = divmod(steps, self.per_epoch)
        samples = epochs * self.rows + min(rest * self.batch, self.rows)
        first = self.calibration * min(self.batch, self.rows)
        passes = self.passes[math.ceil(steps / self.per_epoch)] * self.rows
        return samples * self.evaluations + first + passes

    def choosing(self, steps: int) -> int:
        """Of all validations."""
        return self.validation * (len(self.marks(steps)) + self.start)

    def affordable(self, limit: float) -> int:
        """The most steps whose training and validations stay within a limit."""
        low, high = 0, self.epochs * self.per_epoch
        while low < high:
            middle = (low + high + 1) // 2
            if self.training(middle) + self.choosing(middle) <= limit:
                low = middle
            else:
                high = middle - 1
        return low


@dataclass(frozen=True)
class Plan:
    """The bill of a run, in queries.

    Arguments:
        steps: That will be taken.
        wanted: That were asked for; more than ``steps`` where they cannot be paid.
        training: Perturbed evaluations, calibration, and the mapping's passes.
        validation: All measurements of it.
        test: The one measurement of it.
        train: The one at the end, where it costs nothing but time.
        controls: What comes after the run on the same source.
        price: Of a thousand queries.

    Example:
        >>> print(Plan(500, 500, training=8000, validation=600, test=1000, controls=0, price=1.5))
        queries: 8,000 to train, 600 to validate, 1,000 to test; 9,600 in all, for 14.40
    """

    steps: int
    wanted: int
    training: int
    validation: int
    test: int
    train: int = 0
    controls: int = 0
    price: float = 0.0

    @property
    def total(self) -> int:
        """Of everything."""
        return self.training + self.validation + self.test + self.train + self.controls

    def __str__(self) -> str:
        parts = {
            "to train": self.training, "to validate": self.validation, "to test": self.test,
            "to measure train": self.train, "for controls": self.controls,
        }  # fmt: skip
        told = ", ".join(f"{number:,} {what}" for what, number in parts.items() if number)
        price = f", for {self.total * self.price / 1000:,.2f}" if self.price else ""
        cut = f" ({self.steps:,} of {self.wanted:,} steps: the limit allows no more)"
        return f"queries: {told}; {self.total:,} in all{price}" + cut * (self.steps < self.wanted)
