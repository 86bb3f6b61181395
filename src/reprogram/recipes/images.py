"""Images of another domain on an image classifier: the first programs."""

from __future__ import annotations

from typing import Unpack

from reprogram.recipes.base import Shared, assemble, inner, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import Compose, Frame, Overlay, Resize
from reprogram.transformations.image import Squash
from reprogram.transformations.overlay import Limit


@recipe(epochs=20, mapping="Discriminant")
def ar(
    source: Source,
    task: Task,
    *,
    size: int | None = None,
    squash: Squash = "tanh",
    **shared: Unpack[Shared],
) -> Training:
    """Adversarial reprogramming: an image in a trainable frame.

    The paper's mapping is ``Fixed``, the first labels. ``Discriminant`` reads all of them, and
    loses nothing that the untouched source tells.

    References:
        | Adversarial Reprogramming of Neural Networks (Elsayed, Goodfellow, Sohl-Dickstein, 2019).
          https://arxiv.org/abs/1806.11146

    Arguments:
        source: An image classifier.
        task: Of images.
        size: Side of the image inside the frame, in pixels of the source; by default seven
            eighths of the source's side.
        squash: What keeps the frame inside the source's bounds.
    """
    del task
    parts = [Resize(inner(source, size)), Frame(squash=squash)]
    return assemble(source, Compose(parts), **shared)


@recipe(epochs=20, mapping="Discriminant")
def trainable_io(
    source: Source,
    task: Task,
    *,
    strength: float = 1.0,
    squash: Limit = "tanh",
    **shared: Unpack[Shared],
) -> Training:
    """A trainable layer in front of the source and another behind it.

    The dense layer is ``mapping=Linear``, which wants a ``mapping_lr`` of its own where the source
    has many classes.

    References:
        | After: Improving neural network robustness through reprogramming with trainable input and
          output layers (Kloberdanz, Tian, Le, 2021, ICANN). Its text is not public; this is the
          reading of its abstract: a pattern over the whole image, a dense layer on the scores.

    Arguments:
        source: An image classifier.
        task: Of images.
        strength: Largest change of a pixel, as a share of half the source's range.
        squash: What keeps the pattern below the strength.
    """
    del task
    parts = [Resize(source.input.shape[-1]), Overlay(strength=strength, squash=squash)]
    return assemble(source, Compose(parts), **shared)
