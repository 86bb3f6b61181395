"""How good a reprogrammed model is on a split, and the split prepared for it."""

from __future__ import annotations

import torch
from torch import Tensor

from reprogram import sources
from reprogram.criteria import CrossEntropy
from reprogram.draws import forked_rng
from reprogram.likeness import likeness
from reprogram.model import Reprogrammed
from reprogram.program import Program
from reprogram.tasks.base import Split, Task
from reprogram.tasks.metrics import metrics
from reprogram.transformations import Transformation
from reprogram.types import OutputSpec, TaskSpec, UserError

CACHE_BYTES = 2**30  # prepared inputs are kept up to this size, computed again beyond it


def evaluate(program: Program, split: Split, *, batch_size: int = 64) -> dict[str, float]:
    """Loss and metrics of a program on a split, as fractions.

    Example:
        >>> import reprogram
        >>> source, task = reprogram.load_source("zoo:images"), reprogram.load_task("digits")
        >>> training = reprogram.recipes.ar(source, task, epochs=1)
        >>> training.bind(task.spec)
        >>> sorted(evaluate(training.program(task.spec), task.test.subset(torch.arange(40))))
        ['accuracy', 'balanced_accuracy', 'loss', 'macro_f1', 'roc_auc']
    """
    prepared = Prepared(program.model.transformation, split, program.device)
    return measure(program.model, prepared, batch_size, judge_of(program.task))


def judge_of(task: TaskSpec) -> sources.Source | None:
    """The classifier that tells how good images of this task are, if it names one.

    Raises:
        UserError: if it names one whose classes are others, or that shows no features.
    """
    if not task.judge:
        return None
    judge = sources.load(task.judge)
    told, asked = judge.output, task.classes
    # its classes are these, or as many without names
    if told.kind != "classes" or (
        told.names != asked and told != OutputSpec("classes", (len(asked),))
    ):
        raise UserError(
            f"argument 'judge' is {task.judge}, which tells {_told(told)}; {task.name} asks for "
            f"{_named(asked)}: take a judge of these, or none"
        )
    if not judge.shows_features:
        raise UserError(
            f"argument 'judge' is {task.judge}, which shows no features; take a classifier that "
            "does, such as zoo:digits"
        )
    return judge


def _told(output: OutputSpec) -> str:
    if output.kind != "classes":
        return f"no classes but {output.kind}"
    return _named(output.names) if output.names else f"{output.shape[0]} classes"


def _named(classes: tuple[str, ...]) -> str:
    return f"{len(classes)} classes ({', '.join(classes[:3])}{', ...' * (len(classes) > 3)})"


@torch.no_grad()
def measure(
    model: Reprogrammed,
    prepared: Prepared,
    batch_size: int,
    judge: sources.Source | None = None,
) -> dict[str, float]:
    """The same of a model and a split that is prepared already.

    What is drawn on the way is drawn under seed 0, so that a measurement repeats.

    Arguments:
        model: Bound.
        prepared: The split.
        batch_size: Samples in a source call.
        judge: The classifier that tells how good images are; without one it is their mean
            squared error. The loss of judged images is their FID within the classes.
    """
    model.eval()
    with forked_rng(0, 0):
        predictions = torch.cat([
            model.run(prepared.batch(index)[0]).cpu()
            for index in torch.arange(len(prepared)).split(batch_size)
        ])  # fmt: skip
    targets, weights = prepared.split.targets, prepared.split.weights
    if targets.ndim > weights.ndim:
        return _pictured(predictions, prepared.split, judge)
    losses = CrossEntropy()(predictions, targets, weights)
    loss = float(losses.sum() / weights.sum().clamp_min(1e-12))
    if predictions.ndim > targets.ndim:
        predictions = predictions.log_softmax(-1)
    return {"loss": loss, **metrics(predictions, targets, weights)}


def _pictured(images: Tensor, split: Split, judge: sources.Source | None) -> dict[str, float]:
    """How good images (n, channels, height, width) are, beside the real ones."""
    real, weights = split.wanted(torch.arange(len(split)))
    if judge is None:
        error = float((images - real).square().mean())
        return {"loss": error, "mse": error}
    shown = weights.argmax(1)
    told = likeness(images, real, shown, shown, judge)
    return {"loss": told["intra_fid"], **told}


def tallies(transformation: Transformation, task: Task) -> dict[str, dict[str, int]]:
    """How each split was read, where a reader should know (:meth:`Transformation.tally`)."""
    found: dict[str, dict[str, int]] = {}
    for name in ("train", "validation", "test"):
        split: Split | None = getattr(task, name)
        if split is None:
            continue
        for index in torch.arange(len(split)).split(256):
            for key, count in transformation.tally(split.batch(index)[0]).items():
                total = found.setdefault(name, {})
                total[key] = total.get(key, 0) + count
    return found


class Prepared:
    """A split behind ``transformation.prepare``: computed once a sample where memory allows."""

    def __init__(
        self, transformation: Transformation, split: Split, device: torch.device | str
    ) -> None:
        self.transformation, self.split, self.device = transformation, split, device
        self.cache: Tensor | None = None
        first = self._compute(torch.arange(min(len(split), 64)))
        if len(split) and first.nbytes / len(first) * len(split) <= CACHE_BYTES:
            rest = torch.arange(len(first), len(split)).split(64)
            self.cache = torch.cat([first, *[self._compute(i) for i in rest if len(i)]])

    def __len__(self) -> int:
        return len(self.split)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Prepared inputs, targets and weights, on the device."""
        x = self._compute(index) if self.cache is None else self.cache[index]
        y, w = self.split.wanted(index)
        return x.to(self.device), y.to(self.device), w.to(self.device)

    @torch.no_grad()
    def _compute(self, index: Tensor) -> Tensor:
        return self.transformation.prepare(self.split.batch(index)[0].to(self.device))
