"""A generator without classes, made to draw the class that is wanted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Unpack

import torch

from reprogram import optim
from reprogram.criteria import Adversarial
from reprogram.recipes.base import Shared, assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import ClassNoise, SharedNoise

BETAS = 0.0, 0.9  # of both Adams
against = recipe(
    without=("class_weights", "label_smoothing"),
    optimizer="Backprop",
    epochs=150,
    batch_size=160,
    learning_rate=0.002,
    mapping="Pixels",
    validations=1,
    quick={"epochs": 120, "limit": 640, "validation": 500, "test": 2000},
)


@against
def gan_noise(
    source: Source,
    task: Task,
    *,
    hidden: int = 64,
    layers: int = 4,
    updates: int = 5,
    discriminator_lr: float = 0.001,
    width: int = 32,
    shift: int = 2,
    **shared: Unpack[Shared],
) -> Training:
    """A network for each class, from noise to a generator's noise, each against a discriminator.

    The last epoch is kept; validation chooses nothing.

    References:
        | Reprogramming GANs via Input Noise Design (Lee, Seo, Varshney, 2020, ECML PKDD), in the
          reading of Dinh and others (2022). https://arxiv.org/abs/2201.02692

    Arguments:
        source: A generator of images from noise.
        task: That wants images of classes, such as ``draw:mnist?share=0.01``.
        hidden: Width of each network; the paper's is 128.
        layers: Its linear layers.
        updates: Of the discriminators for each step, each on its share of the batch.
        discriminator_lr: Their learning rate; like the program's it falls along a line to zero.
        width: Their channels.
        shift: Most pixels by which what they see is moved; the papers' is 0.
    """
    del task
    part = ClassNoise(hidden=hidden, layers=layers, seed=shared["seed"])
    criterion = Adversarial(
        heads="separate", steps=updates, learning_rate=discriminator_lr, betas=BETAS, width=width,
        shift=shift, seed=shared["seed"],
    )  # fmt: skip
    return _against(criterion, source, part, shared)


@against
def inrep(
    source: Source,
    task: Task,
    *,
    embedding: int = 10,
    blocks: int = 3,
    bound: float = 0.97,
    unlabelled: float = 0.3,
    others: bool = True,
    warm: int = 30,
    updates: int = 5,
    discriminator_lr: float = 0.001,
    width: int = 32,
    shift: int = 2,
    **shared: Unpack[Shared],
) -> Training:
    """One invertible network of noise and class for all classes, against one discriminator.

    The discriminator has a head for each class, and counts what is generated as unlabelled. The
    last epoch is kept; validation chooses nothing.

    References:
        | Improved Input Reprogramming for GAN Conditioning (Dinh, Seo, Du, Shang, Lee, 2022):
          InRep+. https://arxiv.org/abs/2201.02692

    Arguments:
        source: A generator of images from noise.
        task: That wants images of classes, such as ``draw:mnist?share=0.01``.
        embedding: Numbers of a class, in place of as many of the noise.
        blocks: Residual blocks of the network.
        bound: Largest singular value of its matrices; the network is invertible below 1.
        unlabelled: Share of the generated images that at the end counts as real, in [0, 1]; the
            paper's is 1.
        others: Whether real images of other classes count as generated ones; the paper's do not.
        warm: Steps before they do.
        updates: Of the discriminator for each step, each on its share of the batch.
        discriminator_lr: Its learning rate; like the program's it falls along a line to zero.
        width: Its channels.
        shift: Most pixels by which what it sees is moved; the paper's is 0.
    """
    del task
    part = SharedNoise(embedding=embedding, blocks=blocks, bound=bound, seed=shared["seed"])
    criterion = Adversarial(
        unlabelled=unlabelled, others=others, warm=warm, steps=updates,
        learning_rate=discriminator_lr, betas=BETAS, width=width, shift=shift, seed=shared["seed"],
    )  # fmt: skip
    return _against(criterion, source, part, shared)


def _against(
    criterion: Adversarial,
    source: Source,
    part: ClassNoise | SharedNoise,
    shared: Shared,
) -> Training:
    """Both learning rates fall along a line, and nothing is chosen."""
    training = assemble(
        source.door("noise"), part, criterion=criterion, scheduler=optim.linear,
        rule=partial(torch.optim.Adam, betas=BETAS), **shared,
    )  # fmt: skip
    return replace(training, keep_best=False)
