"""AutoVP: the scale of the image is trained too."""

from __future__ import annotations

from typing import Unpack

from reprogram import optim
from reprogram.recipes.base import Shared, assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import Compose, Resize, ScaledFrame
from reprogram.transformations.image import Squash


@recipe(learning_rate=0.001, mapping="Linear")
def autovp(
    source: Source,
    task: Task,
    *,
    size: int | None = None,
    scale: float = 1.0,
    train_scale: bool = True,
    squash: Squash = "sigmoid",
    **shared: Unpack[Shared],
) -> Training:
    """A frame around an image whose scale is trained, and a fully connected mapping.

    The paper's mappings are ``Linear`` (FullyMap), ``Iterative`` and ``Frequency`` with
    ``(size=..., average='logits')``, and ``Semantic(encoder='hf:openai/clip-vit-base-patch32')``.
    The learning rate is divided by ten at 0.5 and 0.72 of the run.

    References:
        | AutoVP: An Automated Visual Prompting Framework and Benchmark
          (Tsao, Hsiung, Chen, Liu, Ho, 2024). https://arxiv.org/abs/2310.08381

    Arguments:
        source: An image classifier.
        task: Of images.
        size: Side of the image at scale 1, in pixels of the source; by default 128 in 224.
        scale: Of the image at the start; the paper tries 0.5, 1 and 1.5.
        train_scale: Whether the scale is trained.
        squash: What keeps the frame inside the source's bounds.
    """
    del task
    size = max(1, round(128 / 224 * source.input.shape[-1])) if size is None else size
    parts = [Resize(size), ScaledFrame(scale=scale, trainable=train_scale, squash=squash)]
    return assemble(source, Compose(parts), scheduler=optim.milestones, **shared)
