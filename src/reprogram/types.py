"""The nouns that every room shares: specifications, levels of access, tokens, errors.

This module imports nothing of the package, and everything else imports it.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

InputKind = Literal[
    "image", "waveform", "features", "series", "tokens", "embeddings", "noise", "state", "table"
]
OutputKind = Literal["classes", "embedding", "token scores", "image", "state", "series"]


class UserError(ValueError):
    """A mistake of the caller's: one line that says what, where, and what to do.

    The command line prints it as ``error: ...`` and exits with status 2.
    """


class Scores(enum.IntEnum):
    """What a source gives back, in order of how much it tells.

    Example:
        >>> Scores.LOGITS > Scores.LABEL
        True
    """

    LABEL = 0
    TOP_K = 1
    PROBABILITIES = 2
    LOGITS = 3


class Tokens(NamedTuple):
    """A batch of token ids or embeddings with what a language model needs beside them."""

    values: Tensor  # (batch, length) ids or (batch, length, width) embeddings
    mask: Tensor  # (batch, length), 1 where a token stands
    position: Tensor | None = None  # (batch,), where the answer is read; None: the whole sequence

    def map(self, function: Callable[[Tensor], Tensor]) -> Tokens:
        """The same function of every part."""
        position = None if self.position is None else function(self.position)
        return Tokens(function(self.values), function(self.mask), position)


def rows(x: Tensor | Tokens) -> int:
    """Samples in a batch.

    Example:
        >>> import torch
        >>> rows(Tokens(torch.zeros(4, 9), torch.ones(4, 9)))
        4
    """
    return len(x.values if isinstance(x, Tokens) else x)


def select(x: Tensor | Tokens, index: Tensor) -> Tensor | Tokens:
    """Samples of a batch by their indices."""

    def part(tensor: Tensor) -> Tensor:
        return tensor[index.to(tensor.device)]

    return x.map(part) if isinstance(x, Tokens) else part(x)


@dataclass(frozen=True)
class InputSpec:
    """What may enter: at a door of a source, or from a target task.

    Arguments:
        kind: The modality.
        shape: Shape of one sample without the batch axis: ``(channels, height, width)`` of an
            image, ``(samples,)`` of a waveform, ``(frames, bands)`` of features,
            ``(channels, length)`` of a series, ``(columns,)`` of a table.
        lower: Smallest value a sample may hold, in natural units.
        upper: Largest value a sample may hold.
        rate: Samples (or frames) per second, where time has a unit.
        normalised: Whether the door lies behind the source's own normalisation.
        mean: Mean of the values met in training, where known.
        std: Their standard deviation.
        means: Mean of each column of a table, where known.
        stds: Standard deviation of each column; 1 where a column is constant.
    """

    kind: InputKind
    shape: tuple[int, ...]
    lower: float = float("-inf")
    upper: float = float("inf")
    rate: float | None = None
    normalised: bool = False
    mean: float = 0.0
    std: float = 1.0
    means: tuple[float, ...] = ()
    stds: tuple[float, ...] = ()

    def json(self) -> dict[str, Any]:
        """JSON values; an infinite bound becomes ``None``, and columns are named in tables only."""
        values = asdict(self)
        for bound in ("lower", "upper"):
            if values[bound] in (float("inf"), float("-inf")):
                values[bound] = None
        values["shape"] = list(self.shape)
        for columns in ("means", "stds"):
            if values[columns]:
                values[columns] = list(values[columns])
            else:  # a fingerprint hashes what stands here: without columns it stays as it was
                del values[columns]
        return values

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> InputSpec:
        """The inverse of :meth:`json`."""
        values = dict(values)
        values["shape"] = tuple(values["shape"])
        for columns in ("means", "stds"):
            values[columns] = tuple(values.get(columns, ()))
        values["lower"] = float("-inf") if values["lower"] is None else values["lower"]
        values["upper"] = float("inf") if values["upper"] is None else values["upper"]
        return cls(**values)


@dataclass(frozen=True)
class OutputSpec:
    """What comes out of a source.

    Arguments:
        kind: ``classes`` come back as finite log-scores.
        shape: Shape of one sample's output; ``(classes,)`` for ``classes``.
        names: Names of the classes, in order.
    """

    kind: OutputKind
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()

    def json(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": self.kind, "shape": list(self.shape), "names": list(self.names)}


@dataclass(frozen=True)
class TaskSpec:
    """What a program must know of its target task, at fit and again at load.

    Arguments:
        name: The task's name or URI.
        input: What one sample looks like, with the mean and standard deviation of the training
            split.
        classes: Names of the target classes, in order.
        counts: Labelled training samples of each class (for class weights).
    """

    name: str
    input: InputSpec
    classes: tuple[str, ...]
    counts: tuple[int, ...] = field(default=())

    def json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "name": self.name,
            "kind": "classes",
            "input": self.input.json(),
            "classes": list(self.classes),
            "counts": list(self.counts),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TaskSpec:
        """The inverse of :meth:`json`."""
        return cls(
            name=values["name"],
            input=InputSpec.from_json(values["input"]),
            classes=tuple(values["classes"]),
            counts=tuple(values["counts"]),
        )


@runtime_checkable
class SourceLike(Protocol):
    """What the other rooms may ask of a source."""

    @property
    def input(self) -> InputSpec: ...
    @property
    def output(self) -> OutputSpec: ...
    @property
    def uri(self) -> str | None: ...


def nearest(what: str, name: str, known: Iterable[str]) -> UserError:
    """The error for an unknown name, with the nearest known ones.

    Example:
        >>> print(nearest("recipe", "v2", ["v2s", "ar"]))
        unknown recipe 'v2'; did you mean 'v2s'? Known: ar, v2s
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(repr(c) for c in close)}? " if close else ""
    return UserError(f"unknown {what} {name!r}; {hint}Known: {', '.join(known)}")
