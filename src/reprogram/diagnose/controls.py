"""The four controls, computed the same way everywhere; each is an accuracy on the test split."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reprogram import optim
from reprogram.mappings import Fixed
from reprogram.recipes import Recipe
from reprogram.sources import Source, TorchSource
from reprogram.tasks.base import Split, Task
from reprogram.train import Training, fit
from reprogram.transformations import Transformation
from reprogram.types import InputSpec, OutputSpec, SourceLike, TaskSpec, UserError

GRID = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # the inverse strengths C of the probe's penalty


def majority(task: Task) -> float:
    """Accuracy of always answering the commonest class of train.

    Example:
        >>> import reprogram
        >>> round(majority(reprogram.load_task("digits")), 1)
        0.1
    """
    test = _test(task)
    labelled = test.weights > 0
    commonest = int(torch.tensor(task.spec.counts).argmax())
    return float((test.targets[labelled] == commonest).double().mean())


def linear_probe(training: Training, task: Task) -> float:
    """Logistic regression on what the source says under the untrained transformation.

    It reads the source's outputs, and its features where it shows them; the penalty is chosen on
    validation, or by folds of train where there is none.

    Arguments:
        training: Fresh from a recipe; its transformation is bound here and not trained.
        task: With a test split.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    test = _test(task)
    training.bind(task.spec)

    def read(split: Split) -> tuple[np.ndarray, np.ndarray]:
        labelled = (split.weights > 0).numpy()
        return _readout(training, split)[labelled], split.targets.numpy()[labelled]

    def probe(c: float) -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=2000))

    x, y = read(task.train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a weak penalty that does not converge loses the choice
        if task.validation is not None:
            held = read(task.validation)
            scores = [probe(c).fit(x, y).score(*held) for c in GRID]
        else:
            least = int(np.bincount(y)[np.unique(y)].min())
            folds = StratifiedKFold(max(2, min(5, least)), shuffle=True, random_state=training.seed)
            scores = [cross_val_score(probe(c), x, y, cv=folds).mean() for c in GRID]
        best = GRID[int(np.argmax(scores))]
        return float(probe(best).fit(x, y).score(*read(test)))


def random_source(recipe: Recipe, source: Source, task: Task, **numbers: Any) -> float:
    """The same recipe, numbers and loop on the source with every weight permuted.

    Batch-norm is re-estimated on the recipe's own untrained inputs, so that the control is as well
    scaled as the original.
    """
    _test(task)
    seed = numbers.get("seed", 0)
    shown = recipe(source, task, **numbers)
    shown.bind(task.spec)
    x = task.train.batch(torch.arange(min(len(task.train), 256)))[0].to(shown.device)
    with torch.no_grad():
        shown.transformation.eval()
        batch = shown.transformation(shown.transformation.prepare(x))
    training = recipe(shown.source.randomised(seed, batch), task, **numbers)
    return fit(training, task).metrics["test"]["accuracy"]


def scratch(task: Task, *, epochs: int = 100, seed: int = 0) -> float:
    """A small convolutional network trained on the raw target and nothing else.

    Two convolutions of 16 and 32 channels with batch-norm, the mean over positions, one linear
    layer; Adam at 0.01 along a cosine. It runs through :func:`reprogram.fit` as a transformation in
    front of a source that does nothing.
    """
    _test(task)
    classes = len(task.spec.classes)
    nothing = TorchSource(
        nn.Identity(),
        OutputSpec("classes", (classes,)),
        input=InputSpec("embeddings", (classes,)),
    )
    training = Training(
        source=nothing,
        transformation=_SmallNetwork(seed=seed),
        mapping=Fixed(),
        optimizer=optim.default(True, learning_rate=0.01),
        epochs=epochs,
        batch_size=32,
        seed=seed,
    )
    return fit(training, task).metrics["test"]["accuracy"]


def controls(
    recipe: Recipe,
    source: Source,
    task: Task,
    *,
    tell: Callable[[str], None] = lambda _: None,
    **numbers: Any,
) -> dict[str, float]:
    """Majority, linear probe, random source and scratch, as accuracies on test.

    Arguments:
        recipe: The recipe under control.
        source: Its source; one that is opaque has no random control.
        task: With a test split.
        tell: Called with the name of each control before it starts.
        **numbers: The recipe's parameters.
    """
    seed = numbers.get("seed", 0)
    parts: dict[str, Callable[[], float]] = {
        "majority": lambda: majority(task),
        "linear_probe": lambda: linear_probe(recipe(source, task, **numbers), task),
        "scratch": lambda: scratch(task, seed=seed),
    }
    if source.gradient:
        parts["random_source"] = lambda: random_source(recipe, source, task, **numbers)
    values = {}
    for name, part in parts.items():
        tell(name)
        values[name] = part()
    return values


class _SmallNetwork(Transformation):
    """The named network of :func:`scratch`, for series and images."""

    def __init__(self, *, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the layers under the seed."""
        image = task.input.kind == "image"
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if image else (nn.Conv1d, nn.BatchNorm1d)
        width, dims = (3, (2, 3)) if image else (9, (2,))
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            channels, classes = task.input.shape[0], source.output.shape[0]
            self.body = nn.Sequential(
                conv(channels, 16, width, padding=width // 2), norm(16), nn.ReLU(),
                conv(16, 32, width, padding=width // 2), norm(32), nn.ReLU(),
            )  # fmt: skip
            self.head = nn.Linear(32, classes)
        self.dims = dims

    def forward(self, prepared: Tensor) -> Tensor:
        """(batch, channels, *positions) -> (batch, classes)."""
        return self.head(self.body(prepared).mean(self.dims))


def _test(task: Task) -> Split:
    if task.test is None:
        raise UserError(f"task {task.spec.name} has no test split: controls have nothing to tell")
    return task.test


@torch.no_grad()
def _readout(training: Training, split: Split) -> np.ndarray:
    """Outputs, and features where the source shows them: (rows, width)."""
    source, transformation = training.source, copy.deepcopy(training.transformation).eval()
    rows = []
    for index in torch.arange(len(split)).split(64):
        x = transformation(transformation.prepare(split.batch(index)[0].to(training.device)))
        seen = [source(x).flatten(1)]
        if (features := source.features(x)) is not None:
            seen.append(features.flatten(1))
        rows.append(torch.cat(seen, 1).cpu())
    return torch.cat(rows).double().numpy()
