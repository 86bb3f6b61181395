"""AutoVP: the scale of the image is trained too."""

from __future__ import annotations

from reprogram import optim
from reprogram.criteria import ClassWeights
from reprogram.recipes.base import assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import Compose, Resize, ScaledFrame
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
    size: int | None = None,
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
        mapping_lr: Learning rate of the mapping, where it is another one.
        weight_decay: L2 coefficient of the default optimiser.
        size: Side of the image at scale 1, in pixels of the source; by default 128 in 224.
        scale: Of the image at the start; the paper tries 0.5, 1 and 1.5.
        train_scale: Whether the scale is trained.
        squash: What keeps the frame inside the source's bounds.
        mapping: A public mapping; the paper's are ``Linear`` (FullyMap), ``Iterative`` and
            ``Frequency`` with ``(size=..., average='logits')``, and
            ``Semantic(encoder='hf:openai/clip-vit-base-patch32')``.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    size = max(1, round(128 / 224 * source.input.shape[-1])) if size is None else size
    return assemble(
        source,
        Compose([Resize(size), ScaledFrame(scale=scale, trainable=train_scale, squash=squash)]),
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
