"""Rows of a table written over an image."""

from __future__ import annotations

from reprogram import optim
from reprogram.criteria import ClassWeights
from reprogram.recipes.base import assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import TableOverlay
from reprogram.transformations.image import Squash


@recipe
def fraud(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 30,
    batch_size: int = 64,
    learning_rate: float = 0.05,
    weight_decay: float = 0.0,
    size: int | None = None,
    squash: Squash = "tanh",
    mapping: str = "Discriminant",
    class_weights: ClassWeights = "balanced",
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """The features of a transaction written over an image, every class weighted alike.

    References:
        | After: Adversarial Reprogramming of Pretrained Neural Networks for Fraud Detection (Chen,
          Chen, Yang, Shen, 2021). https://doi.org/10.1145/3459637.3482053

    Arguments:
        source: An image classifier.
        task: Of a table.
        optimizer: By default Adam with a cosine schedule.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of the default optimiser.
        weight_decay: L2 coefficient of the default optimiser.
        size: Side of the grid of features, in pixels of the source; by default half.
        squash: What keeps the host image inside the source's bounds.
        mapping: A public mapping; ``ManyToOne`` and ``Frequency(size=...)`` are the field's.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    return assemble(
        source,
        TableOverlay(size=size, squash=squash),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        scheduler=optim.cosine,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )
