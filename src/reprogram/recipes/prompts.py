"""Visual prompting and its label mappings."""

from __future__ import annotations

from typing import Unpack

from reprogram import optim
from reprogram.recipes.base import Shared, assemble, inner, recipe
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


@recipe(batch_size=128, learning_rate=0.02, mapping="Fixed")
def vp(
    source: Source, task: Task, *, width: int | None = None, **shared: Unpack[Shared]
) -> Training:
    """Visual prompting: a trainable border added to the image.

    The paper's mapping takes the first labels; in place of its SGD at rate 40 over 1,000 epochs
    the default is Adam with a cosine schedule.

    References:
        | Exploring Visual Prompts for Adapting Large-Scale Models (Bahng, Jahanian,
          Sankaranarayanan, Isola, 2022). https://arxiv.org/abs/2203.17274

    Arguments:
        source: An image classifier.
        task: Of images.
        width: Of the border, in pixels; by default 30 in 224, as in the paper.
    """
    del task
    side = source.input.shape[-1]
    width = max(1, round(30 / 224 * side)) if width is None else width
    return assemble(source, Compose([Resize(side), Overlay(width=width, squash="none")]), **shared)


@recipe(batch_size=128, mapping="Iterative")
def ilm_vp(
    source: Source,
    task: Task,
    *,
    size: int | None = None,
    squash: Squash = "sigmoid",
    **shared: Unpack[Shared],
) -> Training:
    """A trainable frame with the label mapping found anew in every epoch.

    The paper's mappings are ``Iterative``, ``Frequency`` and ``Fixed(labels='random')``. The
    learning rate is divided by ten at 0.5 and 0.72 of the run.

    References:
        | Understanding and Improving Visual Prompting: A Label-Mapping Perspective
          (Chen, Yao, Chen, Zhang, Liu, 2023). https://arxiv.org/abs/2211.11635

    Arguments:
        source: An image classifier.
        task: Of images.
        size: Side of the image inside the frame, in pixels of the source; by default seven
            eighths of the source's side.
        squash: What keeps the frame inside the source's bounds.
    """
    del task
    return _framed(source, size, squash, shared)


@recipe(batch_size=128, mapping="Bayesian")
def blm(
    source: Source,
    task: Task,
    *,
    size: int | None = None,
    squash: Squash = "sigmoid",
    **shared: Unpack[Shared],
) -> Training:
    """A trainable frame, read by how often each source class was right.

    The paper's mapping is ``Bayesian(smoothing=1.0)``. The learning rate is divided by ten at 0.5
    and 0.72 of the run.

    References:
        | Bayesian-guided Label Mapping for Visual Reprogramming (Cai, Ye, Feng, Qi, Liu, 2024).
          https://arxiv.org/abs/2410.24018

    Arguments:
        source: An image classifier.
        task: Of images.
        size: Side of the image inside the frame, in pixels of the source; by default seven
            eighths of the source's side.
        squash: What keeps the frame inside the source's bounds.
    """
    del task
    return _framed(source, size, squash, shared)


@recipe(name="blm+", batch_size=128, mapping="Bayesian(top=0.15)")
def blm_plus(
    source: Source,
    task: Task,
    *,
    size: int | None = None,
    squash: Squash = "sigmoid",
    **shared: Unpack[Shared],
) -> Training:
    """A trainable frame, read by the mass of the top source classes.

    The paper counts the probabilities of the top source classes, as many as 0.15 of the target
    classes. The learning rate is divided by ten at 0.5 and 0.72 of the run.

    References:
        | Bayesian-guided Label Mapping for Visual Reprogramming (Cai, Ye, Feng, Qi, Liu, 2024).
          https://arxiv.org/abs/2410.24018

    Arguments:
        source: An image classifier.
        task: Of images.
        size: Side of the image inside the frame, in pixels of the source; by default seven
            eighths of the source's side.
        squash: What keeps the frame inside the source's bounds.
    """
    del task
    return _framed(source, size, squash, shared)


def _framed(source: Source, size: int | None, squash: Squash, shared: Shared) -> Training:
    parts = [Resize(inner(source, size)), Frame(squash=squash)]
    return assemble(source, Compose(parts), scheduler=optim.milestones, **shared)


@recipe(batch_size=128, mapping="Iterative")
def smm(
    source: Source,
    task: Task,
    *,
    layers: int = 5,
    patch: int = 8,
    augment: bool = False,
    **shared: Unpack[Shared],
) -> Training:
    """A pattern over the whole image, weighted for each sample by a mask network.

    The paper's mapping is ``Iterative``. The learning rate is divided by ten at 0.5 and 0.72 of
    the run.

    References:
        | Sample-specific Masks for Visual Reprogramming-based Prompting (Cai, Ye, Feng, Qi, Liu,
          2024). https://arxiv.org/abs/2406.03150

    Arguments:
        source: An image classifier.
        task: Of images.
        layers: Of the mask network: 5, or 6 for large sources.
        patch: Side of the patches that share a mask value: a power of two.
        augment: Random crops and mirror images while training, as in the paper.
    """
    del task
    side = source.input.shape[-1]
    parts = [Resize(side)]
    if augment:
        parts += [Crop(padding=max(1, side // 14), enlarge=True), Flip()]  # 16 of 224
    mask = SampleMask(layers=layers, patch=patch, seed=shared["seed"])
    return assemble(source, Compose([*parts, mask]), scheduler=optim.milestones, **shared)
