"""What every target task is: rows with targets and weights, split for training, choice and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from reprogram.types import InputKind, InputSpec, TaskSpec, UserError


@runtime_checkable
class LazyInputs(Protocol):
    """Inputs that are read when a batch wants them, such as images in files."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, *shape of one sample)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, indices: Tensor) -> Tensor:
        """(rows,) indices -> (rows, *shape)."""
        ...

    def subset(self, indices: Tensor) -> LazyInputs:
        """The same kind of inputs, of these rows only."""
        ...

    def contents(self) -> list[bytes]:
        """Bytes for each row, equal where the samples are equal."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Rows of a task, in order.

    Arguments:
        inputs: (n, *shape): float32, or uint8 for images (or lazy).
        targets: Class of each row; or 1 (yes) and 0 (no) to each of several labels, a token for
            each place, a class for each cell; or an image (n, channels, height, width).
        weights: Weight of each target; 0 means "no label" and is ignored everywhere. Of an image
            one for each class (n, classes): how much of it the image shows.
        rows: Identity of each row: a file's name, or ``file:line``.

    Example:
        >>> split = Split(torch.zeros(3, 1, 4), torch.tensor([0, 1, 0]), torch.ones(3),
        ...               ("a.csv:2", "a.csv:3", "a.csv:4"))
        >>> inputs, targets, weights = split.batch(torch.tensor([1, 2]))
        >>> inputs.shape, targets
        (torch.Size([2, 1, 4]), tensor([1, 0]))
        >>> split.subset([2]).rows
        ('a.csv:4',)
    """

    inputs: Tensor | LazyInputs
    targets: Shaped[Tensor, "n ..."]
    weights: Float[Tensor, "n ..."]
    rows: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows of {tuple(self.inputs.shape[1:])})"

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs (b, *shape) as float32, targets and weights; pixels come in [0, 1]."""
        indices = indices.cpu()
        inputs = self.inputs[indices]
        return _numbers(inputs).float(), *self.wanted(indices)

    def wanted(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Targets and weights of these rows; pixels come in [0, 1]."""
        return _numbers(self.targets[indices]), self.weights[indices]

    def subset(self, indices: Tensor | Sequence[int]) -> Split:
        """These rows, in this order."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return Split(
            self.inputs[chosen] if isinstance(self.inputs, Tensor) else self.inputs.subset(chosen),
            self.targets[chosen],
            self.weights[chosen],
            tuple(self.rows[i] for i in chosen.tolist()),
        )

    def contents(self) -> list[bytes]:
        """Bytes for each row, equal where the inputs are equal."""
        if not isinstance(self.inputs, Tensor):
            return self.inputs.contents()
        inputs = self.inputs if self.inputs.dtype == torch.uint8 else self.inputs + 0.0  # no -0
        return [row.tobytes() for row in inputs.numpy()]

    def groups(self) -> Int[Tensor, " n"]:
        """A number for each row, equal where the inputs are equal."""
        seen: dict[bytes, int] = {}
        return torch.tensor([seen.setdefault(key, len(seen)) for key in self.contents()]).long()

    def strata(self) -> Int[Tensor, " n"]:
        """The class of each row; -1 where there is no label.

        Of several labels, places or cells the largest: whether any is yes, where yes is rare. Of an
        image that is wanted the class that it shows.
        """
        if self.targets.ndim > self.weights.ndim:
            return torch.where(self.weights.amax(1) > 0, self.weights.argmax(1), -1)
        strata = torch.where(self.weights > 0, self.targets, -1)
        return strata if strata.ndim == 1 else strata.flatten(1).amax(1)


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """A target task.

    Every choice (epoch, recipe, parameter) uses ``validation`` only, or :meth:`folds` of ``train``
    where there is none; ``test`` is read once.

    Arguments:
        spec: What a program must know of it.
        train: Rows to train on.
        validation: Rows to choose by; ``None`` where a cut would hold fewer than 30.
        test: Rows to report on.
        notes: What was done to the data, one sentence each.
    """

    spec: TaskSpec
    train: Split
    validation: Split | None = None
    test: Split | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{name} {len(split)}" for name, split in vars(self).items() if isinstance(split, Split)
        )
        return (f"Task({self.spec.name!r}, {self.spec.input.kind} {self.spec.input.shape}, "
                f"{len(self.spec.classes)} classes, {sizes})")  # fmt: skip

    def folds(self, k: int, seed: int) -> list[Task]:
        """Stratified k-fold cross-validation on the training rows.

        Each fold's ``validation`` is one part, its ``train`` the others; together the parts cover
        ``train`` once. Equal rows stay in one part.

        Raises:
            UserError: if ``k`` is less than 2 or more than there are different rows.
        """
        units = _Units(self.train.strata(), self.train.groups())
        if not 2 <= k <= len(units.strata):
            raise UserError(f"argument 'k' is {k}; task {self.spec.name!r} has "
                            f"{len(units.strata)} different training rows: pass 2 to "
                            f"{len(units.strata)}")  # fmt: skip
        order = units.shuffled(seed)
        part = torch.empty(len(order), dtype=torch.long)
        part[order] = torch.arange(len(order)) % k  # dealt out like cards, class after class
        part = part[units.groups]  # (n,)
        return [
            replace(
                self._with_train(self.train.subset((part != fold).nonzero()[:, 0])),
                validation=self.train.subset((part == fold).nonzero()[:, 0]),
                test=None,
            )
            for fold in range(k)
        ]

    def limit(
        self, n: int | None = None, seed: int = 0, *, validation: int | None = None,
        test: int | None = None,
    ) -> Task:  # fmt: skip
        """The same task with at most so many rows.

        They are drawn stratified, at least one a class, and keep their order. No row changes sides.

        Arguments:
            n: Training rows; ``None`` keeps all.
            seed: Of the draws.
            validation: Validation rows; ``None`` keeps all.
            test: Test rows; ``None`` keeps all.

        Raises:
            UserError: if a number is less than the number of classes.

        Example:
            >>> import reprogram
            >>> reprogram.load_task("digits").limit(100, validation=50, test=40)
            Task('digits', image (1, 8, 8), 10 classes, train 100, validation 50, test 40)
        """
        task = self
        for argument, name, most in (
            ("limit", "train", n), ("validation", "validation", validation), ("test", "test", test)
        ):  # fmt: skip
            split: Split | None = getattr(self, name)
            if split is None or (rows := self._drawn(argument, split, most, seed)) is None:
                continue
            task = task._with_train(rows) if name == "train" else replace(task, **{name: rows})
            note = f"{name}: {len(rows)} of {len(split)} rows drawn, stratified, seed {seed}"
            task = replace(task, notes=(*task.notes, note))
        return task

    def _drawn(self, argument: str, split: Split, n: int | None, seed: int) -> Split | None:
        """``n`` rows of a split; ``None`` where it has no more."""
        if n is None or n >= len(split):
            return None
        if n < len(self.spec.classes) and self.spec.target in ("classes", "image"):
            raise UserError(f"argument {argument!r} is {n}; task {self.spec.name!r} has "
                            f"{len(self.spec.classes)} classes: pass at least as many")  # fmt: skip
        strata = split.strata()
        _, counts = strata.unique(return_counts=True)
        units = _Units(strata, torch.arange(len(strata)))
        quota = _quota(counts, n, torch.ones_like(counts), counts)
        return split.subset(units.draw(quota, seed).nonzero()[:, 0])

    def _with_train(self, train: Split) -> Task:
        if self.spec.input.kind in ("text", "class"):  # nothing of its specification is measured
            return replace(self, spec=replace(self.spec, counts=occurrences(self.spec, train)),
                           train=train)  # fmt: skip
        spec = specification(self.spec.name, self.spec.input.kind, self.spec.classes, train)
        spec = replace(spec, target=self.spec.target)
        return replace(self, spec=replace(spec, counts=occurrences(spec, train)), train=train)


def specification(name: str, kind: InputKind, classes: tuple[str, ...], train: Split) -> TaskSpec:
    """The specification of a task with these training rows."""
    # the statistics of at most 4096 rows, evenly spread, so that lazy images stay unread
    some = torch.linspace(0, len(train) - 1, min(len(train), 4096 if _held(train) else 256)).long()
    values = train.batch(some)[0].double()
    lower, upper = (0.0, 1.0) if kind == "image" else (float("-inf"), float("inf"))
    means, stds = _columns(train) if kind == "table" else ((), ())
    spec = InputSpec(
        kind,
        tuple(train.inputs.shape[1:]),
        lower=lower,
        upper=upper,
        mean=float(values.mean()),
        std=float(values.std(correction=0)) or 1.0,
        means=means,
        stds=stds,
    )
    counts = torch.bincount(train.targets[train.weights > 0].long(), minlength=len(classes))
    return TaskSpec(name, spec, classes, tuple(counts.tolist()))


def occurrences(spec: TaskSpec, train: Split) -> tuple[int, ...]:
    """Labelled training samples of each class, or with each label; places with each token."""
    if spec.target == "image":
        return tuple((train.weights > 0).sum(0).tolist())
    if spec.target == "labels":
        return tuple(((train.targets == 1) & (train.weights > 0)).sum(0).tolist())
    told = train.targets[train.weights > 0]
    return tuple(torch.bincount(told, minlength=len(spec.classes)).tolist())


def _numbers(values: Tensor) -> Tensor:
    """Pixels in [0, 1], anything else as it is."""
    return values.float() / 255 if values.dtype == torch.uint8 else values


def _columns(train: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each column of a table, over every training row."""
    values = train.batch(torch.arange(len(train)))[0].double()  # (n, columns)
    stds = values.std(0, correction=0)
    stds = stds.where(stds > 0, 1.0)  # a constant column: centred, not scaled
    return tuple(values.mean(0).tolist()), tuple(stds.tolist())


def cut(split: Split, share: float, seed: int) -> tuple[Split, Split]:
    """Cut a seeded, stratified share off; equal rows stay on one side, every class stays in both
    where it has the rows.

    Returns:
        What is kept and what was cut, each in the order of ``split``.
    """
    units = _Units(split.strata(), split.groups())
    _, counts = units.strata.unique(return_counts=True)
    total = min(round(share * len(units.strata)), int((counts - 1).sum()))
    gone = units.draw(_quota(counts, total, torch.zeros_like(counts), counts - 1), seed)
    return split.subset((~gone).nonzero()[:, 0]), split.subset(gone.nonzero()[:, 0])


def _held(split: Split) -> bool:
    return isinstance(split.inputs, Tensor)


class _Units:
    """What a cut moves as one: the rows of a group, under the stratum of its first row."""

    def __init__(self, strata: Tensor, groups: Tensor) -> None:
        self.groups = groups  # (n,)
        size = int(groups.max()) + 1 if len(groups) else 0
        first = torch.full((size,), len(groups)).scatter_reduce(
            0, groups, torch.arange(len(groups)), "amin"
        )
        self.strata = strata[first]  # (units,)

    def shuffled(self, seed: int) -> Tensor:
        """(units,) indices of the units: stratum after stratum, in random order within each."""
        order = torch.randperm(len(self.strata), generator=torch.Generator().manual_seed(seed))
        return order[self.strata[order].argsort(stable=True)]

    def draw(self, quota: Tensor, seed: int) -> Tensor:
        """(n,) whether the row is drawn, with ``quota`` units of each stratum."""
        order = self.shuffled(seed)
        drawn = torch.zeros(len(order), dtype=torch.bool)
        start = 0
        for count, take in zip(
            self.strata.unique(return_counts=True)[1].tolist(), quota.tolist(), strict=True
        ):
            drawn[order[start : start + take]] = True
            start += count
        return drawn[self.groups]


def _quota(counts: Tensor, total: int, least: Tensor, most: Tensor) -> Tensor:
    """How many of each stratum make ``total`` in proportion: the method of largest remainders."""
    exact = counts * (total / max(int(counts.sum()), 1))
    quota = exact.floor().long().clamp(least, most)
    while int(quota.sum()) != total:
        step = 1 if int(quota.sum()) < total else -1
        free = quota < most if step > 0 else quota > least
        if not free.any():
            break
        need = (step * (exact - quota)).masked_fill(~free, float("-inf"))
        quota[need.argmax()] += step
    return quota
