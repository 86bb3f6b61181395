"""Visual prompting and its label mappings."""

from __future__ import annotations

from reprogram import optim
from reprogram.criteria import ClassWeights
from reprogram.recipes.base import assemble, inner, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import (
    Compose,
    Crop,
    Flip,
    Frame,
    Overlay,
    Resize,
    SampleMask,
)
from reprogram.transformations.image import Squash


@recipe
def vp(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 30,
    batch_size: int = 128,
    learning_rate: float = 0.02,
    weight_decay: float = 0.0,
    width: int | None = None,
    mapping: str = "Fixed",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """Visual prompting: a trainable border added to the image.

    References:
        | Exploring Visual Prompts for Adapting Large-Scale Models (Bahng, Jahanian,
          Sankaranarayanan, Isola, 2022). https://arxiv.org/abs/2203.17274

    Arguments:
        source: An image classifier.
        task: Of images.
        optimizer: By default Adam with a cosine schedule, in place of the paper's SGD at rate 40
            over 1,000 epochs.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of the default optimiser.
        weight_decay: L2 coefficient of the default optimiser.
        width: Of the border, in pixels; by default 30 in 224, as in the paper.
        mapping: A public mapping; the paper's takes the first labels.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    side = source.input.shape[-1]
    width = max(1, round(30 / 224 * side)) if width is None else width
    return assemble(
        source,
        Compose([Resize(side), Overlay(width=width, squash="none")]),
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


@recipe
def ilm_vp(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 30,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    size: int | None = None,
    squash: Squash = "sigmoid",
    mapping: str = "Iterative",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """A trainable frame with the label mapping found anew in every epoch.

    References:
        | Understanding and Improving Visual Prompting: A Label-Mapping Perspective
          (Chen, Yao, Chen, Zhang, Liu, 2023). https://arxiv.org/abs/2211.11635

    Arguments:
        source: An image classifier.
        task: Of images.
        optimizer: By default Adam, its rate divided by ten at 0.5 and 0.72 of the run.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of the default optimiser.
        weight_decay: L2 coefficient of the default optimiser.
        size: Side of the image inside the frame, in pixels of the source; by default seven
            eighths of the source's side.
        squash: What keeps the frame inside the source's bounds.
        mapping: A public mapping; the paper's are ``Iterative``, ``Frequency`` and
            ``Fixed(labels='random')``.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    return assemble(
        source,
        Compose([Resize(inner(source, size)), Frame(squash=squash)]),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        scheduler=optim.milestones,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )


@recipe
def blm(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 30,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    size: int | None = None,
    squash: Squash = "sigmoid",
    mapping: str = "Bayesian",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """A trainable frame, read by how often each source class was right.

    References:
        | Bayesian-guided Label Mapping for Visual Reprogramming (Cai, Ye, Feng, Qi, Liu, 2024).
          https://arxiv.org/abs/2410.24018

    Arguments:
        source: An image classifier.
        task: Of images.
        optimizer: By default Adam, its rate divided by ten at 0.5 and 0.72 of the run.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of the default optimiser.
        weight_decay: L2 coefficient of the default optimiser.
        size: Side of the image inside the frame, in pixels of the source; by default seven
            eighths of the source's side.
        squash: What keeps the frame inside the source's bounds.
        mapping: A public mapping; the paper's is ``Bayesian(smoothing=1.0)``.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    return assemble(
        source,
        Compose([Resize(inner(source, size)), Frame(squash=squash)]),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        scheduler=optim.milestones,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )


@recipe(name="blm+")
def blm_plus(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 30,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    size: int | None = None,
    squash: Squash = "sigmoid",
    mapping: str = "Bayesian(top=0.15)",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """A trainable frame, read by the mass of the top source classes.

    References:
        | Bayesian-guided Label Mapping for Visual Reprogramming (Cai, Ye, Feng, Qi, Liu, 2024).
          https://arxiv.org/abs/2410.24018

    Arguments:
        source: An image classifier.
        task: Of images.
        optimizer: By default Adam, its rate divided by ten at 0.5 and 0.72 of the run.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of the default optimiser.
        weight_decay: L2 coefficient of the default optimiser.
        size: Side of the image inside the frame, in pixels of the source; by default seven
            eighths of the source's side.
        squash: What keeps the frame inside the source's bounds.
        mapping: A public mapping; the paper counts the probabilities of the top source classes,
            as many as 0.15 of the target classes.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    return assemble(
        source,
        Compose([Resize(inner(source, size)), Frame(squash=squash)]),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        scheduler=optim.milestones,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )


@recipe
def smm(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 30,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    layers: int = 5,
    patch: int = 8,
    augment: bool = False,
    mapping: str = "Iterative",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """A pattern over the whole image, weighted for each sample by a mask network.

    References:
        | Sample-specific Masks for Visual Reprogramming-based Prompting (Cai, Ye, Feng, Qi, Liu,
          2024). https://arxiv.org/abs/2406.03150

    Arguments:
        source: An image classifier.
        task: Of images.
        optimizer: By default Adam, its rate divided by ten at 0.5 and 0.72 of the run.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of the default optimiser.
        weight_decay: L2 coefficient of the default optimiser.
        layers: Of the mask network: 5, or 6 for large sources.
        patch: Side of the patches that share a mask value: a power of two.
        augment: Random crops and mirror images while training, as in the paper.
        mapping: A public mapping; the paper's is ``Iterative``.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    side = source.input.shape[-1]
    parts = [Resize(side)]
    if augment:
        parts += [Crop(padding=max(1, side // 14), enlarge=True), Flip()]  # 16 of 224
    return assemble(
        source,
        Compose([*parts, SampleMask(layers=layers, patch=patch, seed=seed)]),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        scheduler=optim.milestones,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )
