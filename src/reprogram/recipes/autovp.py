"""AutoVP: the scale of the image is trained too."""

from __future__ import annotations

from reprogram import optim
from reprogram.criteria import ClassWeights
from reprogram.recipes.base import assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import ScaledFrame
from reprogram.transformations.image import Squash


@recipe
def autovp(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 30,
    batch_size: int = 64,
    learning_rate: float = 0.001,
    mapping_lr: float | None = None,
    weight_decay: float = 0.0,
    scale: float = 1.0,
    train_scale: bool = True,
    squash: Squash = "sigmoid",
    mapping: str = "Linear",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """A frame around an image whose scale is trained, and a fully connected mapping.

    References:
        | AutoVP: An Automated Visual Prompting Framework and Benchmark
          (Tsao, Hsiung, Chen, Liu, Ho, 2024). https://arxiv.org/abs/2310.08381

    Arguments:
        source: An image classifier.
        task: Of images.
        optimizer: By default Adam, its rate divided by ten at 0.5 and 0.72 of the run.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of the default optimiser.
        mapping_lr: Learning rate of the mapping.
        weight_decay: L2 coefficient of the default optimiser.
        scale: At the start, of the image's initial size.
        train_scale: Whether the scale is trained.
        squash: What keeps the frame inside the source's bounds.
        mapping: ``Linear`` (FullyMap), ``Semantic(encoder='hf:openai/clip-vit-base-patch32')``,
            ``Iterative(size=5, average='logits')``, ``Frequency``: the paper's four; or another.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    return assemble(
        source,
        ScaledFrame(scale=scale, trainable=train_scale, squash=squash),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        mapping_lr=mapping_lr,
        weight_decay=weight_decay,
        scheduler=optim.milestones,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )
