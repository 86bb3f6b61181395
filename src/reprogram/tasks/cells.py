"""Images whose every cell is to say a class: what an automaton is asked."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from reprogram.tasks.base import Split, Task, occurrences
from reprogram.types import UserError

LIVING = 0.1  # a cell lives where its grey value is above


def load_cells(task: str, *, say: str | int = "", seed: int = 0) -> Task:
    """The images of another task, with a target for each of their living cells.

    A cell is a pixel; it lives where it is brighter than 0.1, and only living cells have a weight.
    The target is the image's own class, or the same one everywhere: the adversary's wish.

    Arguments:
        task: Name of a task of grey images by class, or the path of a folder, without options.
        say: The class that every living cell should say, by its name; the image's own if absent.
        seed: Of the other task's cuts.

    References:
        Randazzo, Mordvintsev, Niklasson, Levin, Adversarial Reprogramming of Neural Cellular
        Automata, 2021 (Distill, selforg/2021/adversarial).

    Raises:
        UserError: if the task holds no grey images by class, has no such class, or an image no
            living cell.

    Example:
        >>> task = load_cells("digits", say=8)
        >>> task.spec.target, task.train.targets.shape, int(task.train.targets[0, 0, 0])
        ('cells', torch.Size([1078, 8, 8]), 8)
    """
    from reprogram.tasks import load

    whole = load(task, seed=seed)
    spec = whole.spec.input
    if spec.kind != "image" or whole.spec.target != "classes" or spec.shape[0] != 1:
        raise UserError(f"task {task!r} holds {spec.kind} samples of shape {spec.shape}; cells "
                        "takes grey images by class")  # fmt: skip
    wanted = None
    if say != "":
        if str(say) not in whole.spec.classes:
            raise UserError(f"argument 'say' is {say!r}; the classes of task {task!r} are "
                            f"{', '.join(whole.spec.classes)}")  # fmt: skip
        wanted = whole.spec.classes.index(str(say))
    splits = {name: s for name, s in vars(whole).items() if isinstance(s, Split)}
    parts = {name: _of_cells(split, wanted, task) for name, split in splits.items()}
    told = replace(whole.spec, name=f"cells:{task}", target="cells")
    told = replace(told, counts=occurrences(told, parts["train"]))
    return replace(whole, spec=told, **parts)


def _of_cells(split: Split, wanted: int | None, task: str) -> Split:
    inputs = split.inputs if isinstance(split.inputs, Tensor) else split.batch(
        torch.arange(len(split)))[0]  # fmt: skip
    bright = inputs[:, 0] > (LIVING * 255 if inputs.dtype == torch.uint8 else LIVING)
    dark = (~bright.flatten(1).any(1)).nonzero()[:, 0]
    if len(dark):
        raise UserError(f"{split.rows[int(dark[0])]} of task {task!r} has no pixel brighter than "
                        f"{LIVING}: no cell lives; remove it")  # fmt: skip
    classes = split.targets if wanted is None else torch.full_like(split.targets, wanted)
    targets = classes[:, None, None].expand_as(bright)  # a view: a class fills its image
    return Split(inputs, targets, bright * split.weights[:, None, None], split.rows)
