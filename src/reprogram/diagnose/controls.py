"""The controls, computed the same way everywhere.

Each gives every metric of the test split.
"""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reprogram import optim
from reprogram.diagnose.classical import STRENGTHS, chances, reported_split
from reprogram.diagnose.network import text_network
from reprogram.draws import forked_rng
from reprogram.evaluation import Prepared, measure
from reprogram.loop import Loop
from reprogram.mappings import Fixed
from reprogram.recipes import Recipe
from reprogram.sources import Source, TorchSource
from reprogram.tasks.base import Split, Task
from reprogram.tasks.metrics import metrics
from reprogram.train import Training, fit
from reprogram.transformations import Transformation
from reprogram.types import InputSpec, OutputSpec, SourceLike, TaskSpec

Metrics = dict[str, float]
SCRATCH_EPOCHS, SCRATCH_STEPS, SCRATCH_BATCH = 100, 3000, 32


def majority(task: Task) -> Metrics:
    """Of always answering the commonest class of train; all ranks are tied.

    Example:
        >>> import reprogram
        >>> round(majority(reprogram.load_task("digits"))["accuracy"], 1)
        0.1
    """
    test = reported_split(task)
    counts = torch.tensor(task.spec.counts)
    if task.spec.target == "labels":  # the share of yes among the known, label by label
        known = (task.train.weights > 0).sum(0).clamp_min(1)
        logits = torch.logit(counts / known, eps=1e-6)
        return metrics(logits.expand(len(test), -1), test.targets, test.weights)
    if task.spec.target == "tokens":
        scores = nn.functional.one_hot(counts.argmax(), len(counts)).float()
        return metrics(scores.expand(*test.targets.shape, -1), test.targets, test.weights)
    scores = nn.functional.one_hot(counts.argmax(), len(counts)).float().expand(len(test), -1)
    return metrics(scores, test.targets, test.weights)


def linear_probe(training: Training, task: Task, *, features: bool = True) -> Metrics:
    """Of logistic regression on what the source says under the untrained transformation.

    It reads the source's outputs, and its features where it shows them; the penalty is chosen on
    validation, or by folds of train where there is none.

    Arguments:
        training: Fresh from a recipe; its transformation is bound here and not trained.
        task: With a test split.
        features: Whether features are read too; without them it is the plain readout.
    """

    test = reported_split(task)
    training.bind(task.spec)
    splits = {"train": task.train, "validation": task.validation, "test": test}
    rows = {n: (_readout(training, s, features), s) for n, s in splits.items() if s is not None}
    if task.spec.target != "labels":
        scores = _probed(rows, len(task.spec.classes), None, training.seed)
    else:
        labels = range(len(task.spec.classes))
        each = [_probed(rows, 2, label, training.seed) for label in labels]
        scores = torch.stack([found[:, 1].logit() for found in each], 1)
    return metrics(scores, test.targets, test.weights)


def _probed(
    rows: dict[str, tuple[np.ndarray, Split]], classes: int, label: int | None, seed: int
) -> Tensor:
    """Probabilities (rows, classes) on test of the regression chosen on validation.

    Arguments:
        rows: What the source says of each split, and the split.
        classes: How many there are.
        label: Which of the labels, where the task asks for several.
        seed: Of the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        x, split = rows[name]
        column = (slice(None),) if label is None else (slice(None), label)
        labelled = (split.weights[column] > 0).numpy()
        return x[labelled], split.targets[column].numpy()[labelled]

    def probe(c: float) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))

    x, y = read("train")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a weak penalty that does not converge loses the choice
        least = int(np.bincount(y)[np.unique(y)].min())
        if "validation" in rows and len(np.unique(read("validation")[1])):
            held = read("validation")
            scores = [probe(c).fit(x, y).score(*held) for c in STRENGTHS]
        elif least < 2:  # one shot: there is nothing to choose by
            scores = [float(c == 1.0) for c in STRENGTHS]
        else:
            folds = StratifiedKFold(min(5, least), shuffle=True, random_state=seed)
            scores = [cross_val_score(probe(c), x, y, cv=folds).mean() for c in STRENGTHS]
        best = STRENGTHS[int(np.argmax(scores))]
        return chances(probe(best).fit(x, y), rows["test"][0], classes)


def probe_queries(training: Training, task: Task) -> int:
    """What :func:`linear_probe` asks of a source: its outputs, and its features where it has any.

    Of all the controls it alone asks the source itself.
    """
    rows = sum(len(split) for split in (task.train, task.validation, task.test) if split)
    return rows * (1 + training.source.shows_features)


def mapping_alone(training: Training, task: Task) -> Metrics:
    """Of the mapping behind the untrained transformation: what no query spent on training adds.

    A mapping that is found from outputs takes its first pass; one that is trained stays as it
    starts.

    Arguments:
        training: Fresh from a recipe.
        task: With a test split.
    """
    test = reported_split(task)
    training.bind(task.spec)
    loop = Loop(training, task)
    loop.begin()
    return measure(loop.model, Prepared(training.transformation, test, training.device), 64)


def random_source(recipe: Recipe, source: Source, task: Task, **numbers: Any) -> Metrics:
    """Of the same recipe, numbers and loop on the source with every weight permuted.

    Batch-norm is re-estimated on the recipe's own untrained inputs, so that the control is as well
    scaled as the original.
    """
    reported_split(task)
    seed = numbers.get("seed", 0)
    shown = recipe(source, task, **numbers)
    shown.bind(task.spec)
    x = task.train.batch(torch.arange(min(len(task.train), 256)))[0].to(shown.device)
    with torch.no_grad(), forked_rng(seed, 0):
        shown.transformation.eval()
        batch = shown.transformation(shown.transformation.prepare(x))
    training = recipe(shown.source.randomised(seed, batch), task, **numbers)
    return fit(training, task).metrics["test"]


def scratch(task: Task, *, epochs: int | None = None, seed: int = 0) -> Metrics:
    """Of a small network trained on the raw target and nothing else.

    Series and images: two convolutions of 16 and 32 channels with batch-norm, the mean over
    positions, one linear layer. Tables, standardised a column at a time: two hidden layers of 64.
    Texts: see :class:`~reprogram.diagnose.network.TextNetwork`. Adam at 0.01 along a cosine,
    batches of 32. It runs through :func:`reprogram.fit` as a transformation in front of a source
    that does nothing.

    Arguments:
        task: With a test split.
        epochs: Passes over train; by default 100, or as many as make 3,000 steps.
        seed: Of the weights and the batches.

    Raises:
        UserError: if there is no test split, or the task asks for tokens.
    """
    reported_split(task)
    text = task.spec.input.kind == "text"
    network = text_network(task, seed) if text else _SmallNetwork(seed=seed)
    if epochs is None:
        steps = math.ceil(len(task.train) / SCRATCH_BATCH)
        epochs = max(1, min(SCRATCH_EPOCHS, SCRATCH_STEPS // steps))
    width = len(task.spec.classes) * (1 + (task.spec.target == "labels"))  # for no and for yes
    nothing = TorchSource(
        nn.Identity(), OutputSpec("classes", (width,)), input=InputSpec("table", (width,))
    )
    training = Training(
        source=nothing,
        transformation=network,
        mapping=Fixed(),
        optimizer=optim.default(True, learning_rate=0.01),
        epochs=epochs,
        batch_size=SCRATCH_BATCH,
        seed=seed,
    )
    return fit(training, task).metrics["test"]


class _SmallNetwork(Transformation):
    """The named network of :func:`scratch`, for series, images and tables."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the layers under the seed."""
        channels, *positions = task.input.shape
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            if math.prod(positions) == 1:  # a table, or pixels: nothing to convolve
                self.body, width = _layers(task.input), 64
            else:
                self.body, width = _convolutions(channels, len(positions)), 32
            self.head = nn.Linear(width, source.output.shape[0])

    def forward(self, prepared: Tensor) -> Tensor:
        """(batch, channels, *positions) or (batch, columns) -> (batch, classes)."""
        return self.head(self.body(prepared).flatten(2).mean(2))


def _convolutions(channels: int, axes: int) -> nn.Sequential:
    """(batch, channels, *positions) -> (batch, 32, *positions)."""
    conv, norm, width = (
        (nn.Conv2d, nn.BatchNorm2d, 3) if axes == 2 else (nn.Conv1d, nn.BatchNorm1d, 9)
    )
    return nn.Sequential(
        conv(channels, 16, width, padding=width // 2), norm(16), nn.ReLU(),
        conv(16, 32, width, padding=width // 2), norm(32), nn.ReLU(),
    )  # fmt: skip


def _layers(spec: InputSpec) -> nn.Sequential:
    """(batch, columns, ...) -> (batch, 64, 1)."""
    columns = spec.shape[0]
    return nn.Sequential(
        nn.Flatten(), _Standardised(spec),
        nn.Linear(columns, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Unflatten(1, (64, 1)),
    )  # fmt: skip


class _Standardised(nn.Module):
    """Columns of mean 0 and deviation 1, as in training."""

    means: Tensor
    stds: Tensor

    def __init__(self, spec: InputSpec) -> None:
        super().__init__()
        means, stds = spec.means or (spec.mean,), spec.stds or (spec.std,)
        self.register_buffer("means", torch.tensor(means), persistent=False)
        self.register_buffer("stds", torch.tensor(stds), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, columns) -> (batch, columns)."""
        return (x - self.means) / self.stds


@torch.no_grad()
def _readout(training: Training, split: Split, features: bool) -> np.ndarray:
    """Outputs, and features where they are wanted and shown: (rows, width)."""
    source, transformation = training.source, copy.deepcopy(training.transformation).eval()
    rows = []
    for index in torch.arange(len(split)).split(64):
        x = transformation(transformation.prepare(split.batch(index)[0].to(training.device)))
        seen = [source(x).flatten(1)]
        if features and (shown := source.features(x)) is not None:
            seen.append(shown.flatten(1))
        rows.append(torch.cat(seen, 1).cpu())
    return torch.cat(rows).double().numpy()
