"""Images of another domain on an image classifier."""

from __future__ import annotations

from reprogram import optim
from reprogram.criteria import ClassWeights
from reprogram.recipes.base import assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import Compose, Frame, Resize
from reprogram.transformations.image import Squash


@recipe
def ar(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 0.05,
    weight_decay: float = 0.0,
    size: int = 12,
    squash: Squash = "tanh",
    mapping: str = "Fixed",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """Adversarial reprogramming: a small image in a trainable frame, read by the first labels.

    References:
        | Adversarial Reprogramming of Neural Networks (Elsayed, Goodfellow, Sohl-Dickstein, 2019).
          https://arxiv.org/abs/1806.11146

    Arguments:
        source: An image classifier with at least as many classes as the task.
        task: Of images.
        optimizer: By default Adam with a cosine schedule.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of Adam.
        weight_decay: L2 coefficient of Adam.
        size: Side of the image inside the frame, in pixels of the source.
        squash: What keeps the frame inside the source's bounds.
        mapping: A public mapping; the paper's takes the first labels.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    return assemble(
        source,
        Compose([Resize(size), Frame(squash=squash)]),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )
