"""Tasks of images turned around: classes in, images of them out."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from reprogram.tasks.base import Split, Task, cut, occurrences
from reprogram.types import InputSpec, TaskSpec, UserError

JUDGE, JUDGED = "zoo:digits", tuple("0123456789")  # who tells of what, unless told otherwise


def load_draw(
    task: str,
    *,
    share: float = 1.0,
    noise: float = 0.0,
    rare: int = 0,
    rare_share: float = 0.1,
    judge: str = "",
    seed: int = 0,
) -> Task:
    """The images of another task as what is wanted, its classes as what is asked for.

    A sample is a class, its target a real image of that class, its weights (classes,) say which
    class the image shows. What is taken away is taken from train only; test stays as it is.

    Arguments:
        task: Name of a task of images by class, or the path of a folder, without options.
        share: Of the training images that have a label and are kept, in (0, 1], class by class.
        noise: Share of the training labels that name the next class instead, in [0, 1).
        rare: How many classes, the first ones, are rare.
        rare_share: Of the training images that a rare class keeps, in (0, 1].
        judge: URI of a classifier of such images, with the same classes, that tells how good an
            image is; ``none`` for no judge. By default ``zoo:digits`` where the classes are the
            ten digits, elsewhere none.
        seed: Of the other task's cuts, and of what is taken away.

    References:
        Dinh et al., Improved Input Reprogramming for GAN Conditioning, 2022 (arXiv:2201.02692).

    Raises:
        UserError: if the task holds no images by class, or a share is out of its range.

    Example:
        >>> task = load_draw("digits", share=0.1)
        >>> task
        Task('draw:digits', class (), 10 classes, train 108, validation 360, test 359)
        >>> task.spec.target, task.spec.shape, task.train.weights.shape
        ('image', (1, 8, 8), torch.Size([108, 10]))
    """
    from reprogram.tasks import load

    whole = load(task, seed=seed)
    spec = whole.spec.input
    if spec.kind != "image" or whole.spec.target != "classes":
        raise UserError(f"task {task!r} holds {spec.kind} samples and asks for "
                        f"{whole.spec.target}; draw takes images by class")  # fmt: skip
    for name, value, low in (("share", share, False), ("rare_share", rare_share, False),
                             ("noise", noise, True)):  # fmt: skip
        if not (0 <= value < 1 if low else 0 < value <= 1):
            raise UserError(f"argument {name!r} is {value}; give a number in "
                            f"{'[0, 1)' if low else '(0, 1]'}")  # fmt: skip
    classes = len(whole.spec.classes)
    if not 0 <= rare <= classes:
        raise UserError(f"argument 'rare' is {rare}; task {task!r} has {classes} classes: give 0 "
                        f"to {classes}")  # fmt: skip
    train = whole.train.subset((whole.train.weights > 0).nonzero()[:, 0])
    train = cut(train, share, seed)[1] if share < 1 else train
    train = _with_rare(train, rare, rare_share, seed)
    empty = torch.bincount(train.targets, minlength=classes) == 0
    if empty.any():
        named = ", ".join(whole.spec.classes[i] for i in empty.nonzero()[:, 0].tolist())
        raise UserError(f"class {named} of task {task!r} has no training image left; raise "
                        "'share' or 'rare_share'")  # fmt: skip
    train = _mislabelled(train, noise, classes, seed)
    judge = judge or (JUDGE if whole.spec.classes == JUDGED else "none")
    told = TaskSpec(
        f"draw:{task}", InputSpec("class", (), lower=0.0, upper=classes - 1.0), whole.spec.classes,
        target="image", shape=spec.shape, judge="" if judge == "none" else judge,
    )  # fmt: skip
    parts = {"train": train, "validation": whole.validation, "test": whole.test}
    turned = {name: s if s is None else _turned(s, classes) for name, s in parts.items()}
    told = replace(told, counts=occurrences(told, turned["train"] or train))
    notes = [f"train: {len(train)} of {len(whole.train)} labelled images kept, seed {seed}"]
    if noise:
        notes.append(f"train: {noise:g} of the labels name the next class instead")
    return replace(whole, spec=told, notes=(*whole.notes, *notes), **turned)


def _with_rare(split: Split, rare: int, share: float, seed: int) -> Split:
    """The first classes thinned out, at least one image each."""
    if not rare:
        return split
    generator = torch.Generator().manual_seed(seed)
    kept = torch.ones(len(split), dtype=torch.bool)
    for label in range(rare):
        own = (split.targets == label).nonzero()[:, 0]
        order = torch.randperm(len(own), generator=generator)
        kept[own[order[max(1, round(share * len(own))) :]]] = False
    return split.subset(kept.nonzero()[:, 0])


def _mislabelled(split: Split, noise: float, classes: int, seed: int) -> Split:
    if not noise:
        return split
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(split), generator=generator) < noise
    return replace(split, targets=(split.targets + wrong.long()) % classes)


def _turned(split: Split, classes: int) -> Split:
    """Classes as samples, images as targets; an image without a label is no sample."""
    split = split.subset((split.weights > 0).nonzero()[:, 0])
    shown = torch.nn.functional.one_hot(split.targets, classes).float()
    weights = shown * split.weights[:, None]
    return Split(split.targets.float(), _images(split), weights, split.rows)


def _images(split: Split) -> Tensor:
    held = split.inputs
    return held if isinstance(held, Tensor) else held[torch.arange(len(split))]
