"""Images of another domain on an image classifier: the first programs."""

from __future__ import annotations

from reprogram import optim
from reprogram.criteria import ClassWeights
from reprogram.recipes.base import assemble, inner, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import Compose, Frame, Overlay, Resize
from reprogram.transformations.image import Squash
from reprogram.transformations.overlay import Limit


@recipe
def ar(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 0.01,
    mapping_lr: float | None = None,
    weight_decay: float = 0.0,
    size: int | None = None,
    squash: Squash = "tanh",
    mapping: str = "Discriminant",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """Adversarial reprogramming: an image in a trainable frame.

    References:
        | Adversarial Reprogramming of Neural Networks (Elsayed, Goodfellow, Sohl-Dickstein, 2019).
          https://arxiv.org/abs/1806.11146

    Arguments:
        source: An image classifier.
        task: Of images.
        optimizer: By default Adam with a cosine schedule.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of the default optimiser.
        mapping_lr: Learning rate of a mapping that is trained, where it is another one.
        weight_decay: L2 coefficient of the default optimiser.
        size: Side of the image inside the frame, in pixels of the source; by default seven
            eighths of the source's side.
        squash: What keeps the frame inside the source's bounds.
        mapping: A public mapping; the paper's is ``Fixed``, the first labels.
            ``Discriminant`` reads all of them, and loses nothing that the untouched source tells.
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
        mapping_lr=mapping_lr,
        weight_decay=weight_decay,
        scheduler=optim.cosine,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )


@recipe
def trainable_io(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 0.01,
    mapping_lr: float | None = None,
    weight_decay: float = 0.0,
    strength: float = 1.0,
    squash: Limit = "tanh",
    mapping: str = "Discriminant",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """A trainable layer in front of the source and another behind it.

    References:
        | After: Improving neural network robustness through reprogramming with trainable input and
          output layers (Kloberdanz, Tian, Le, 2021, ICANN). Its text is not public; this is the
          reading of its abstract: a pattern over the whole image, a dense layer on the scores.

    Arguments:
        source: An image classifier.
        task: Of images.
        optimizer: By default Adam with a cosine schedule.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of the default optimiser.
        mapping_lr: Learning rate of a mapping that is trained, where it is another one.
        weight_decay: L2 coefficient of the default optimiser.
        strength: Largest change of a pixel, as a share of half the source's range.
        squash: What keeps the pattern below the strength.
        mapping: A public mapping; a dense layer is ``Linear``, which wants a ``mapping_lr`` of its
            own where the source has many classes.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    return assemble(
        source,
        Compose([Resize(source.input.shape[-1]), Overlay(strength=strength, squash=squash)]),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        mapping_lr=mapping_lr,
        weight_decay=weight_decay,
        scheduler=optim.cosine,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )
