"""From samples and labels to a task: classes, duplicates, cuts, checks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprogram.tasks.base import LazyInputs, Split, Task, cut, occurrences, specification
from reprogram.tasks.labels import check_labels, yes_or_no
from reprogram.tasks.texts import text_input, text_inputs, widened
from reprogram.types import InputKind, Notation, TargetKind, TaskSpec, UserError

VALIDATION_ROWS = 30  # with fewer, a choice made on them is a coin toss: folds instead


class Samples(NamedTuple):
    """Samples as they stand in a file.

    Arguments:
        inputs: (n, *shape): uint8 pixels, or numbers; or a list of texts.
        labels: One a row, any string or number, ``None`` where unknown; ``None`` altogether if
            the file holds none. Of several labels a row is a sequence, one value a label.
        rows: Identity of each row; numbered from 0 if absent.
        splits: ``train``, ``validation`` or ``test`` for each row, if the file says so.
    """

    inputs: Any
    labels: Any = None
    rows: Sequence[str] | None = None
    splits: Sequence[str] | None = None

    def of(self, split: str) -> Samples | None:
        """The rows of one split; ``None`` if there are none."""
        chosen = [i for i, name in enumerate(self.splits or ()) if name == split]
        if not chosen:
            return None
        if isinstance(self.inputs, list):
            inputs = [self.inputs[i] for i in chosen]
        elif isinstance(self.inputs, LazyInputs):
            inputs = self.inputs.subset(torch.tensor(chosen))
        else:
            inputs = self.inputs[chosen]
        labels = None if self.labels is None else [self.labels[i] for i in chosen]
        rows = None if self.rows is None else [self.rows[i] for i in chosen]
        return Samples(inputs, labels, rows)


def make_task(
    name: str,
    kind: InputKind,
    train: Samples | tuple[Any, ...],
    *,
    validation: Samples | tuple[Any, ...] | None = None,
    test: Samples | tuple[Any, ...] | None = None,
    classes: Sequence[str] | None = None,
    target: TargetKind = "classes",
    notation: Notation = "",
    seed: int = 0,
    test_share: float = 0.2,
    validation_share: float = 0.2,
) -> Task:
    """Make a task of samples and labels.

    Classes are the labels met in training, sorted (as numbers if all are numbers), unless they are
    given. Published
    splits are kept; a training row equal to a row of another split is dropped, and rows that are
    equal to one another stay on one side of every cut. Without ``test``, a seeded stratified share
    is cut for it; without ``validation``, another one from what is left, unless it would hold
    fewer than 30 labelled rows: then there is none, and choices are made by folds.

    Arguments:
        name: The task's name or URI.
        kind: ``"series"``, ``"image"``, ``"table"`` or ``"text"``.
        train: ``(inputs, labels)`` or ``(inputs, labels, rows)``. Series are (n, length) or
            (n, channels, length); images (n, channels, height, width), uint8 or in [0, 1]; tables
            (n, columns); texts strings, the two sentences of a pair joined by
            :data:`reprogram.texts.PAIR`.
        validation: The same, if published.
        test: The same, if published.
        classes: Names of the classes in order, where sorting would not do; of the labels.
        target: ``"labels"`` where each row has yes or no to each of several labels: 0, 1, or blank
            where it is not known.
        notation: How texts are written: plainly, ``"sequence"`` or ``"smiles"``.
        seed: Of the cuts.
        test_share: Share of the rows cut for test.
        validation_share: Share of what is left, cut for validation; with 0 and a published test, a
            class may have a single training sample.

    Raises:
        UserError: if there are no rows, values that are not finite, fewer than two classes, a
            class with a single sample, shapes that differ between splits, or a label that is no
            class.

    Example:
        >>> task = make_task("waves", "series", (torch.randn(200, 16), ["a", "b"] * 100))
        >>> task
        Task('waves', series (1, 16), 2 classes, train 128, validation 32, test 40)
        >>> task.spec.classes, task.spec.counts
        (('a', 'b'), (64, 64))
    """
    parts = {
        part: Samples(*samples)
        for part, samples in (("train", train), ("validation", validation), ("test", test))
        if samples is not None
    }
    for part, samples in parts.items():
        _check_labelled(samples, part, name)
    if classes is None and target == "labels":
        raise UserError(f"task {name!r} has several labels; name them in 'classes'")
    names = _classes(_names(parts["train"]), name) if classes is None else tuple(classes)
    splits = {
        part: _split(samples, names, kind, target, part, name) for part, samples in parts.items()
    }
    if kind == "text":
        longest = max(int(split.inputs.shape[1]) for split in splits.values())
        splits = {part: _widened(split, longest) for part, split in splits.items()}
    shapes = {part: tuple(split.inputs.shape[1:]) for part, split in splits.items()}
    for part, shape in shapes.items():
        if shape != shapes["train"]:
            raise UserError(f"task {name!r}: {part} samples have shape {shape}, train samples "
                            f"{shapes['train']}; make them equal")  # fmt: skip
    notes = _drop_leaks(splits)
    if target == "labels":
        check_labels(splits["train"].targets, splits["train"].weights, names, name)
    else:
        _check_counts(splits["train"], names, name, 1 if test and not validation_share else 2)
    if "test" not in splits:
        splits["train"], splits["test"] = cut(splits["train"], test_share, seed)
        notes.append(f"test: {len(splits['test'])} rows cut from the data, stratified, seed {seed}")
    if "validation" not in splits:
        kept, gone = cut(splits["train"], validation_share, seed + 1)
        if int((gone.strata() >= 0).sum()) >= VALIDATION_ROWS:
            splits["train"], splits["validation"] = kept, gone
        else:
            notes.append(f"validation: a cut would hold fewer than {VALIDATION_ROWS} rows; "
                         "choices are made by folds of train")  # fmt: skip
    if kind == "text":
        shape = splits["train"].inputs.shape
        spec = TaskSpec(name, text_input(shape[1], notation), names, target=target)
    else:
        spec = replace(specification(name, kind, names, splits["train"]), target=target)
    spec = replace(spec, counts=occurrences(spec, splits["train"]))
    return Task(
        spec, splits["train"], splits.get("validation"), splits["test"] or None, tuple(notes)
    )


def class_name(label: Any) -> str | None:
    """A label as it names a class: ``1.0`` and ``"1"`` are ``"1"``; blank or NaN is no label.

    Example:
        >>> class_name(-1.0), class_name(" cat "), class_name(float("nan")), class_name(True)
        ('-1', 'cat', None, 'True')
    """
    if label is None:
        return None
    if isinstance(label, bytes):
        label = label.decode(errors="replace")
    text = str(label).strip()
    number = _number(text)
    if number is not None and number.is_integer():
        return str(int(text if text.lstrip("+-").isdigit() else number))
    return None if text == "" or text.casefold() == "nan" else text


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _check_labelled(samples: Samples, part: str, name: str) -> None:
    count = len(samples.inputs)
    if count == 0:
        raise UserError(f"task {name!r} has no {part} rows; check the file")
    if samples.labels is None:
        raise UserError(f"task {name!r}: the {part} rows have no labels; add a label to each")
    if len(samples.labels) != count:
        raise UserError(f"task {name!r}: {count} {part} rows but {len(samples.labels)} labels")


def _names(samples: Samples) -> list[str | None]:
    values = samples.labels
    return [class_name(v) for v in (values.tolist() if hasattr(values, "tolist") else values)]


def _classes(labels: list[str | None], name: str) -> tuple[str, ...]:
    found = {label for label in labels if label is not None}
    if len(found) < 2:
        only = f"only {found.pop()!r}" if found else "none"
        raise UserError(f"task {name!r} needs at least two classes in its training rows, "
                        f"found {only}; check the labels")  # fmt: skip
    numbers = {label: _number(label) for label in found}
    numeric = all(number is not None for number in numbers.values())
    return tuple(sorted(found, key=(lambda c: numbers[c] or 0.0) if numeric else str))


def _split(
    samples: Samples, classes: tuple[str, ...], kind: InputKind, target: TargetKind, part: str,
    name: str,
) -> Split:  # fmt: skip
    rows = samples.rows
    count = len(samples.inputs)
    rows = tuple(f"{part}[{i}]" for i in range(count)) if rows is None else tuple(rows)
    inputs = as_inputs(samples.inputs, kind, rows, name)
    if target == "labels":
        return Split(inputs, *yes_or_no(samples.labels, classes, rows), rows)
    labels = _names(samples)
    index = {c: i for i, c in enumerate(classes)}
    for row, label in zip(rows, labels, strict=True):
        if label is not None and label not in index:
            raise UserError(f"task {name!r}: {part} row {row} has label {label!r}, which no "
                            f"training row has; known: {', '.join(classes)}")  # fmt: skip
    targets = torch.tensor([0 if c is None else index[c] for c in labels])
    weights = torch.tensor([0.0 if c is None else 1.0 for c in labels])
    return Split(inputs, targets, weights, rows)


def _widened(split: Split, longest: int) -> Split:
    assert isinstance(split.inputs, Tensor)  # texts always are
    return replace(split, inputs=widened(split.inputs, longest))


def as_inputs(inputs: Any, kind: InputKind, rows: Sequence[str], name: str) -> Tensor | LazyInputs:
    """Inputs as a split holds them, checked: (n, channels, length), (n, channels, h, w),
    (n, columns) or (n, characters)."""
    if kind == "text":
        return text_inputs(inputs, rows)
    if not isinstance(inputs, Tensor):
        if isinstance(inputs, LazyInputs):
            return inputs
        inputs = torch.as_tensor(np.asarray(inputs))
    if inputs.dtype != torch.uint8 or kind != "image":
        inputs = inputs.to(torch.float32)
    if kind == "series" and inputs.ndim == 2:
        inputs = inputs[:, None]
    axes = {"series": 3, "image": 4, "table": 2}.get(kind, inputs.ndim)
    if inputs.ndim != axes or 0 in inputs.shape[1:]:
        wanted = {
            "series": "(n, length) or (n, channels, length)",
            "table": "(n, columns)",
        }.get(kind, "(n, channels, h, w)")
        raise UserError(f"task {name!r}: {kind} inputs have shape {tuple(inputs.shape)}; "
                        f"pass {wanted}")  # fmt: skip
    check_finite(inputs, rows)
    if kind == "image" and inputs.dtype != torch.uint8 and (inputs.min() < 0 or inputs.max() > 1):
        raise UserError(f"task {name!r}: pixels lie in [{float(inputs.min()):.3g}, "
                        f"{float(inputs.max()):.3g}]; pass uint8, or floats in [0, 1]")  # fmt: skip
    return inputs


def check_finite(inputs: Tensor, rows: Sequence[str]) -> None:
    """Refuse NaN and infinite values, naming the first.

    Raises:
        UserError: if there is one.
    """
    if inputs.dtype == torch.uint8 or torch.isfinite(inputs).all():
        return
    row, *place = (~torch.isfinite(inputs)).nonzero()[0].tolist()
    column = f"value {place[-1] + 1}" + (f" of channel {place[0] + 1}" if place[0] else "")
    bad = float(inputs[(row, *place)])
    raise UserError(f"row {rows[row]}, {column} is {bad}; fill it in or remove the row")


def _drop_leaks(splits: dict[str, Split]) -> list[str]:
    """Drop training rows that stand in another split, and validation rows that stand in test."""
    notes = []
    for part, others in (("validation", ("test",)), ("train", ("validation", "test"))):
        taken = {key for other in others if other in splits for key in splits[other].contents()}
        if part not in splits or not taken:
            continue
        split = splits[part]
        kept = [i for i, key in enumerate(split.contents()) if key not in taken]
        if len(kept) < len(split):
            splits[part] = split.subset(kept)
            notes.append(f"{part}: {len(split) - len(kept)} rows dropped that also stand in "
                         f"{' or '.join(o for o in others if o in splits)}")  # fmt: skip
    return notes


def _check_counts(train: Split, classes: tuple[str, ...], name: str, least: int) -> None:
    counts = Counter(train.targets[train.weights > 0].tolist())
    few = [c for i, c in enumerate(classes) if counts[i] < least]
    if not few:
        return
    count = counts[classes.index(few[0])]
    more = f" (and {len(few) - 1} more classes)" if len(few) > 1 else ""
    has = "one training sample" if count else "no training sample that is not also in another split"
    advice = (
        "are the labels measurements rather than classes?"
        if len(few) > 10 and 2 * len(few) > len(classes)
        else "add samples, or remove or merge the class"
    )
    needed = "1 is" if least == 1 else f"{least} are"
    raise UserError(f"task {name!r}: class {few[0]!r} has {has}{more}, "
                    f"at least {needed} needed; {advice}")  # fmt: skip
