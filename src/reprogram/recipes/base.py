"""What every recipe shares: it composes, and it remembers with what."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, overload

from reprogram import optim, parts
from reprogram.criteria import ClassWeights, CrossEntropy
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import Transformation

Recipe = Callable[..., Training]


@overload
def recipe(function: Recipe, /) -> Recipe: ...
@overload
def recipe(*, name: str) -> Callable[[Recipe], Recipe]: ...
def recipe(function: Recipe | None = None, /, *, name: str = "") -> Any:
    """Let a recipe remember its name and every parameter, those left at their defaults too.

    A source that can be given classes by name is given the task's.

    Arguments:
        function: The recipe.
        name: Under which it is known; by default the function's, with dashes.

    Example:
        >>> from reprogram.recipes import v2s
        >>> v2s.__name__
        'v2s'
    """
    if function is None:
        return functools.partial(_remembering, name)
    return _remembering(function.__name__.replace("_", "-"), function)


def _remembering(name: str, function: Recipe) -> Recipe:
    signature = inspect.signature(function)

    @functools.wraps(function)
    def composed(source: Source, task: Task, *args: Any, **kwargs: Any) -> Training:
        if source.vocabulary:
            source = source.with_classes(task.spec.classes)  # pyright: ignore
        bound = signature.bind(source, task, *args, **kwargs)
        bound.apply_defaults()
        training = function(*bound.args, **bound.kwargs)
        training.recipe = name
        left_out = ("source", "task", "optimizer", "device")
        training.parameters = {k: v for k, v in bound.arguments.items() if k not in left_out}
        return training

    return composed


def inner(source: Source, size: int | None) -> int:
    """Side of the image inside a frame: as given, or seven eighths of the source's side."""
    return max(1, source.input.shape[-1] * 7 // 8) if size is None else size


def assemble(
    source: Source,
    transformation: Transformation,
    *,
    mapping: str,
    optimizer: optim.Optimizer | None,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    class_weights: ClassWeights,
    label_smoothing: float,
    seed: int,
    device: str,
    scheduler: optim.MakeScheduler | None = optim.cosine,
    mapping_lr: float | None = None,
) -> Training:
    """What the recipes have in common: a mapping by name, cross-entropy, a default optimiser.

    Arguments:
        source: At the door the transformation writes to.
        transformation: Not yet bound.
        mapping: A public mapping, with arguments if wanted; it is given the seed if it draws.
        optimizer: ``None`` for :func:`reprogram.optim.default`.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of the default optimiser.
        weight_decay: Of the default optimiser.
        class_weights: Of the cross-entropy.
        label_smoothing: Of the cross-entropy.
        seed: Of every random draw.
        device: Where to compute.
        scheduler: Of the default optimiser.
        mapping_lr: Of the default optimiser, for the mapping.
    """
    return Training(
        source=source,
        transformation=transformation,
        mapping=parts.make("mappings", mapping, seed=seed),
        optimizer=optimizer
        or optim.default(
            source.gradient,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            scheduler=scheduler,
            mapping_lr=mapping_lr,
            seed=seed,
        ),
        epochs=epochs,
        batch_size=batch_size,
        criterion=CrossEntropy(class_weights=class_weights, label_smoothing=label_smoothing),
        seed=seed,
        device=device,
    )
