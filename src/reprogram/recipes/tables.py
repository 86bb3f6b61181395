"""Rows of a table written over an image."""

from __future__ import annotations

from typing import Unpack

from reprogram.recipes.base import Shared, assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import TableOverlay
from reprogram.transformations.image import Squash


@recipe(learning_rate=0.05, mapping="Discriminant", class_weights="balanced")
def fraud(
    source: Source,
    task: Task,
    *,
    size: int | None = None,
    squash: Squash = "tanh",
    **shared: Unpack[Shared],
) -> Training:
    """The features of a transaction written over an image, every class weighted alike.

    ``ManyToOne`` and ``Frequency(size=...)`` are the field's mappings.

    References:
        | After: Adversarial Reprogramming of Pretrained Neural Networks for Fraud Detection (Chen,
          Chen, Yang, Shen, 2021). https://doi.org/10.1145/3459637.3482053

    Arguments:
        source: An image classifier.
        task: Of a table.
        size: Side of the grid of features, in pixels of the source; by default half.
        squash: What keeps the host image inside the source's bounds.
    """
    del task
    return assemble(source, TableOverlay(size=size, squash=squash), **shared)
