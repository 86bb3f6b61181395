"""Images on a model that can only be called: programs found from its answers."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, Unpack

import torch

from reprogram import optim, sources
from reprogram.criteria import Focal
from reprogram.recipes.base import Shared, assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import (
    BasisOverlay,
    Compose,
    Coordinator,
    DiscreteOverlay,
    Frame,
    Resize,
)
from reprogram.transformations.basis import Basis
from reprogram.transformations.image import Squash, check_choice
from reprogram.transformations.overlay import Limit

DECODERS: dict[str, dict[str, Any]] = {
    "small": {},
    "published": {"grid": 7, "widths": (64, 32, 32, 16)},
}


@recipe(
    without=("label_smoothing",),
    optimizer="RandomDirections(directions=25)",
    batch_size=20,
    learning_rate=0.05,
    mapping="Frequency",
    class_weights="balanced",
    epochs=100,
    validations=10,
)
def bar(
    source: Source,
    task: Task,
    *,
    size: int | None = None,
    squash: Squash = "tanh",
    gamma: float = 2.0,
    group: int = 10,
    **shared: Unpack[Shared],
) -> Training:
    """Black-box adversarial reprogramming: a frame trained by averaged random directions.

    No gradient is asked for, whatever the source lets pass. The paper reads several source classes
    for each target class, the most frequent ones (``Frequency``) of a local model, random ones
    (``ManyToOne``) of an API. Its raw gains are
    ``optimizer="RandomDirections(directions=25, c=0.01, calibrate=False)"``; the default calibrates
    them from the first queries, so that they hold on other data.

    References:
        | Transfer Learning without Knowing: Reprogramming Black-box Machine Learning Models with
          Scarce Data and Limited Resources (Tsai, Chen, Ho, 2020).
          https://arxiv.org/abs/2007.08714

    Arguments:
        source: An image classifier of any access.
        task: Of images.
        size: Side of the image inside the frame, in pixels of the source; by default 200 in 299,
            as in the paper's first task.
        squash: What keeps the frame inside the source's bounds.
        gamma: Of the focal loss, >= 0.
        group: Source classes for each target class, >= 1; fewer where the source has too few.
    """
    size = max(1, round(200 / 299 * source.input.shape[-1])) if size is None else size
    most = max(1, source.output.shape[0] // len(task.spec.classes))
    return assemble(
        source,
        Compose([Resize(size), Frame(squash=squash)]),
        criterion=Focal(gamma=gamma, class_weights=shared["class_weights"]),
        rule=torch.optim.SGD,
        group=min(group, most),
        **shared,
    )


@recipe(
    optimizer="SPSA(law='segmented', directions=5, gamma=0.1)",
    batch_size=128,
    mapping="Frequency",
    epochs=100,
    validations=10,
)
def blackvip(
    source: Source,
    task: Task,
    *,
    encoder: str | None = None,
    decoder: Literal["small", "published"] = "small",
    trigger: int | None = None,
    strength: float = 1.0,
    **shared: Unpack[Shared],
) -> Training:
    """A coordinator draws a prompt for each image, trained by SPSA with gradient correction.

    No gradient is asked for, whatever the source lets pass. The correction is Nesterov's momentum;
    the rate falls as ``1 / (k + 1)^0.4``. The paper's raw gains are
    ``optimizer="SPSA(law='segmented', directions=5, c=0.01, gamma=0.1, calibrate=False)"``.

    References:
        | BlackVIP: Black-Box Visual Prompting for Robust Transfer Learning (Oh, Hwang, Lee, Lim,
          Jung, Jung, Choi, Song, 2023). https://arxiv.org/abs/2303.14773

    Arguments:
        source: An image classifier of any access.
        task: Of images.
        encoder: URI of the frozen source whose features the decoder reads, once for each image; by
            default it reads the image's lowest frequencies.
        decoder: ``"small"``, of some hundred parameters behind the default encoder; or
            ``"published"``, of the paper's layers and start.
        trigger: Length of the trained vector beside the features; the paper's is 800 for 768
            features. By default the least that fills whole maps.
        strength: Largest change of a pixel, as a share of half the source's range.
    """
    del task
    check_choice("decoder", decoder, tuple(DECODERS))
    coordinator = Coordinator(
        sources.load(encoder) if encoder else None,
        strength=strength,
        trigger=trigger,
        seed=shared["seed"],
        **DECODERS[decoder],
    )
    return assemble(
        source,
        Compose([Resize(source.input.shape[-1]), coordinator]),
        rule=partial(torch.optim.SGD, momentum=0.9, nesterov=True),
        scheduler=optim.decay(power=0.4, offset=1),
        **shared,
    )


@recipe(
    epochs=100, batch_size=32, learning_rate=0.1, mapping="Discriminant", validations=10,
)  # fmt: skip
def bvp(
    source: Source,
    task: Task,
    *,
    basis: Basis = "dct",
    size: int = 4,
    width: int | None = None,
    strength: float = 1.0,
    squash: Limit = "tanh",
    colour: bool = True,
    **shared: Unpack[Shared],
) -> Training:
    """Black-box visual prompt: a pattern of few numbers, which few queries can find.

    Estimates from losses alone get worse with every parameter, so the pattern over the image is
    written in a low-dimensional basis, and all source classes are read.

    Arguments:
        source: An image classifier of any access.
        task: Of images.
        basis: ``dct`` for the lowest frequencies, ``grid`` for interpolated cells, ``random`` for
            directions over all pixels.
        size: Frequencies or cells along each side, or directions: the more, the finer the pattern
            and the dearer to find.
        width: Of the border that it is added to, in pixels; by default the whole image.
        strength: Largest change of a pixel, as a share of half the source's range.
        squash: What keeps the pattern below the strength.
        colour: Whether each channel has a pattern of its own.
    """
    del task
    pattern = BasisOverlay(
        basis=basis, size=size, width=width, strength=strength, squash=squash, colour=colour,
        seed=shared["seed"],
    )  # fmt: skip
    return assemble(source, Compose([Resize(source.input.shape[-1]), pattern]), **shared)


@recipe(
    optimizer="ScoreFunction(samples=8)",
    epochs=100,
    batch_size=32,
    learning_rate=0.1,
    mapping="Discriminant",
    validations=10,
)
def discrete_vp(
    source: Source,
    task: Task,
    *,
    size: int = 4,
    levels: int = 3,
    strength: float = 0.3,
    **shared: Unpack[Shared],
) -> Training:
    """A pattern of few levels, found by the score function: nothing is differentiated at all.

    References:
        | Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning
          (Williams, 1992).

    Arguments:
        source: An image classifier of any access.
        task: Of images.
        size: Cells along each side.
        levels: Values that a cell may take, >= 2.
        strength: Largest change of a pixel, as a share of half the source's range: patterns are
            drawn while training, and too strong ones leave nothing of the image.
    """
    del task
    pattern = DiscreteOverlay(size=size, levels=levels, strength=strength, seed=shared["seed"])
    return assemble(source, Compose([Resize(source.input.shape[-1]), pattern]), **shared)
