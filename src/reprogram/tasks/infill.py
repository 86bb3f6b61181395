"""Sequences with places left out, to be filled in."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from reprogram.tasks.base import Split, Task, occurrences
from reprogram.types import TaskSpec, UserError

MASK = "_"  # stands at the places that are asked for


def load_infill(task: str, *, start: int = 0, stop: int = 0, seed: int = 0) -> Task:
    """The texts of another task with the letters of some places left out: which were they?

    The places are counted from 0 and ``stop`` is excluded, as in a slice; there the input holds
    ``_``. Targets are the letters met in training, place by place, with weight 1 where one is asked
    for. Splits are the other task's. A text without a letter at those places is dropped; a letter
    that training does not have is not asked for.

    Arguments:
        task: Name of a task of texts, or the path of a file, without options.
        start: The first place that is left out.
        stop: The place behind the last.
        seed: Of the other task's cuts.

    References:
        Melnyk et al., Reprogramming Pretrained Language Models for Antibody Sequence Infilling,
        2023 (arXiv:2210.07144).

    Raises:
        UserError: if the task holds no texts, or no place is left out.

    Example:
        >>> load_infill("digits", start=2, stop=4)
        Traceback (most recent call last):
        reprogram.types.UserError: task 'digits' holds image samples; infilling takes texts
    """
    from reprogram.tasks import load

    whole = load(task, seed=seed)
    spec = whole.spec.input
    if spec.kind != "text":
        raise UserError(f"task {task!r} holds {spec.kind} samples; infilling takes texts")
    if not 0 <= start < min(stop, spec.shape[0]):
        raise UserError(f"arguments 'start' and 'stop' are {start} and {stop}; the longest text of "
                        f"{task!r} has {spec.shape[0]} places: pass 0 <= start < stop, as "
                        "infill:splice?start=25&stop=35")  # fmt: skip
    found = {part: split for part, split in vars(whole).items() if isinstance(split, Split)}
    parts = {part: _with_letters(split, start, stop) for part, split in found.items()}
    if len(parts["train"]) == 0:
        raise UserError(f"task {task!r} has no training text with a letter at places {start} to "
                        f"{stop - 1}; choose others")  # fmt: skip
    letters = _points(parts["train"]).unique()
    letters = letters[letters > 0]
    if ord(MASK) in letters:
        raise UserError(f"the texts of task {task!r} hold {MASK!r} themselves, which marks what is "
                        "asked for; write it otherwise")  # fmt: skip
    parts = {part: _masked(split, letters, start, stop) for part, split in parts.items()}
    told = TaskSpec(f"infill:{task}", spec, tuple(map(chr, letters.tolist())), target="tokens")
    told = replace(told, counts=occurrences(told, parts["train"]))
    notes = [f"data: places {start} to {stop - 1} left out, counted from 0"]
    if dropped := sum(map(len, found.values())) - sum(map(len, parts.values())):
        notes.append(f"data: {dropped} texts without a letter there dropped")
    return replace(whole, spec=told, notes=(*whole.notes, *notes), **parts)


def _points(split: Split) -> Tensor:
    assert isinstance(split.inputs, Tensor)  # texts always are
    return split.inputs


def _with_letters(split: Split, start: int, stop: int) -> Split:
    return split.subset((_points(split)[:, start:stop] > 0).any(1).nonzero()[:, 0])


def _masked(split: Split, letters: Tensor, start: int, stop: int) -> Split:
    points = _points(split)  # (n, places)
    targets = torch.searchsorted(letters, points).clamp_max(len(letters) - 1)
    asked = torch.zeros_like(points, dtype=torch.bool)
    asked[:, start:stop] = points[:, start:stop] > 0
    known = asked & (letters[targets] == points)
    inputs = points.masked_fill(asked, ord(MASK))
    return Split(inputs, targets * known, known.float(), split.rows)
