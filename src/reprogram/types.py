"""The nouns that every room shares: specifications, levels of access, tokens, errors.

This module imports nothing of the package, and everything else imports it.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

if TYPE_CHECKING:
    from reprogram.lexicon import Lexicon

InputKind = Literal[
    "image", "waveform", "features", "series", "tokens", "embeddings", "noise", "state", "table",
    "text", "class",
]  # fmt: skip
Notation = Literal["", "sequence", "smiles"]
TargetKind = Literal["classes", "labels", "tokens", "cells", "image"]
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


Rule = Callable[[Tensor], Tensor]  # a state -> the next one
Intervene = Callable[[Rule, Tensor, Tensor | None], Tensor]


class Cells(NamedTuple):
    """A batch of states that enter an automaton, and what is done to them on the way."""

    values: Tensor  # (batch, channels, height, width)
    mask: Tensor | None = None  # (batch, 1, height, width): what the intervention goes by
    steps: int | None = None  # how often the rule is applied; None: as often as the source says
    intervene: Intervene | None = None  # (rule, state, mask) -> next state, at every step

    def map(self, function: Callable[[Tensor], Tensor]) -> Cells:
        """The same function of every tensor."""
        mask = None if self.mask is None else function(self.mask)
        return self._replace(values=function(self.values), mask=mask)


Batch = Tensor | Tokens | Cells


def rows(x: Batch) -> int:
    """Samples in a batch.

    Example:
        >>> rows(Tokens(torch.zeros(4, 9), torch.ones(4, 9)))
        4
    """
    return len(x if isinstance(x, Tensor) else x.values)


def mapped(x: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    """The same function of every tensor of a batch."""
    return function(x) if isinstance(x, Tensor) else x.map(function)


def select(x: Batch, index: Tensor) -> Batch:
    """Samples of a batch by their indices."""
    return mapped(x, lambda part: part[index.to(part.device)])


def joined(parts: Sequence[Any]) -> Any:
    """Batches of one kind, tensors or tokens, one behind the other.

    Example:
        >>> part = Tokens(torch.zeros(4, 9), torch.ones(4, 9))
        >>> rows(joined([part, part]))
        8
    """
    if isinstance(parts[0], Tensor):
        return torch.cat(list(parts))
    if isinstance(parts[0], Cells):
        raise UserError("automata under different programs run one by one, not as one batch")
    position = None
    if parts[0].position is not None:
        position = torch.cat([part.position for part in parts])
    values, mask = (torch.cat([part[i] for part in parts]) for i in (0, 1))
    return Tokens(values, mask, position)


@dataclass(frozen=True)
class InputSpec:
    """What may enter: at a door of a source, or from a target task.

    Arguments:
        kind: The modality.
        shape: Shape of one sample without the batch axis: ``(channels, height, width)`` of an
            image, ``(samples,)`` of a waveform, ``(frames, bands)`` of features,
            ``(channels, length)`` of a series, ``(columns,)`` of a table, ``(tokens,)``,
            ``(tokens, width)`` of embeddings, ``(characters,)`` of a text: the longest there is,
            ``(numbers,)`` of noise, ``(channels, height, width)`` of a state, ``()`` of
            a class that is wanted.
        lower: Smallest value a sample may hold, in natural units.
        upper: Largest value a sample may hold.
        rate: Samples (or frames) per second, where time has a unit.
        normalised: Whether the door lies behind the source's own normalisation.
        mean: Mean of the values met in training, where known.
        std: Their standard deviation.
        means: Mean of each column of a table, where known.
        stds: Standard deviation of each column; 1 where a column is constant.
        notation: How a text is written: plainly, as a ``sequence`` of letters (DNA, protein), or as
            ``smiles``.
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
    notation: Notation = ""

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
        if not self.notation:
            del values["notation"]
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
        classes: Names of the target classes, in order; of the labels, or of the tokens.
        counts: Labelled training samples of each class (for class weights), or with each label.
        target: What is wanted of a sample: one of the ``classes``, yes or no to each of several
            ``labels``, one of the ``tokens`` at each place, a class of each of an automaton's
            ``cells``, or an ``image``.
        shape: Of an image that is wanted: (channels, height, width).
        judge: URI of a classifier that tells how good such an image is, if there is one.
    """

    name: str
    input: InputSpec
    classes: tuple[str, ...]
    counts: tuple[int, ...] = field(default=())
    target: TargetKind = "classes"
    shape: tuple[int, ...] = ()
    judge: str = ""

    def json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "name": self.name,
            "kind": self.target,
            "input": self.input.json(),
            "classes": list(self.classes),
            "counts": list(self.counts),
            **({"shape": list(self.shape), "judge": self.judge} if self.shape else {}),
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> TaskSpec:
        """The inverse of :meth:`json`."""
        return cls(
            name=values["name"],
            input=InputSpec.from_json(values["input"]),
            classes=tuple(values["classes"]),
            counts=tuple(values["counts"]),
            target=values["kind"],
            shape=tuple(values.get("shape", ())),
            judge=values.get("judge", ""),
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
    @property
    def lexicon(self) -> Lexicon | None: ...


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
