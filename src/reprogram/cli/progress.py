"""How a run is shown while it lasts: a bar on a terminal, plain lines elsewhere; on stderr."""

from __future__ import annotations

import datetime
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from reprogram.train import Progress as Report

LINE_SECONDS = 5.0  # between plain lines
EPOCH_SECONDS = 2.0  # before one at the end of an epoch


class Display:
    """Shows the reports of :func:`reprogram.fit` between enter and exit.

    Example:
        >>> with Display() as display:
        ...     display.note("control: majority")
    """

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False, markup=False)
        self.bar = None
        if self.console.is_terminal:
            self.bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"),
                console=self.console, transient=True,
            )  # fmt: skip
            self.task = self.bar.add_task("fit", visible=False, told="")
        self.began = self.shown = time.monotonic()
        self.first: int | None = None

    def __enter__(self) -> Display:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self.bar is not None:
            self.bar.stop()

    def __call__(self, report: Report) -> None:
        """Show a step."""
        now = time.monotonic()
        if self.first is None:  # a resumed run starts elsewhere than at 0
            self.first, self.began = report.step - 1, min(now, self.began)
        if self.bar is not None:
            self.bar.update(
                self.task, completed=report.step, total=report.steps, visible=True,
                description=f"epoch {report.epoch}/{report.epochs}", told=self._told(report, now),
            )  # fmt: skip
            return
        per_epoch = report.steps // report.epochs
        due = EPOCH_SECONDS if report.step % per_epoch == 0 else LINE_SECONDS
        if now - self.shown >= due or report.step == report.steps:
            self.shown = now
            self.note(f"epoch {report.epoch}/{report.epochs}  {self._told(report, now)}")

    def note(self, text: str) -> None:
        """A line of its own."""
        self.console.print(text, soft_wrap=True)

    def _told(self, report: Report, now: float) -> str:
        from reprogram.tasks.metrics import headline

        rate = (report.step - (self.first or 0)) / max(now - self.began, 1e-9)
        left = datetime.timedelta(seconds=round((report.steps - report.step) / rate))
        told = [f"step {report.step}/{report.steps}", f"loss {report.loss:.3f}"]
        if report.validation:
            name = headline(report.validation)
            told.append(
                f"validation {name} {report.validation[name]:.{5 if name == 'mse' else 3}f}"
            )
        return "  ".join([*told, f"{rate:.1f} steps/s", f"ETA {left}"])
