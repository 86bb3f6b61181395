"""The nouns that every room shares: specifications, levels of access, tokens, errors.

This module imports nothing of the package, and everything else imports it.
"""

from __future__ import annotations

import difflib
import enum
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

InputKind = Literal[
    "image", "waveform", "features", "series", "tokens", "embeddings", "noise", "state", "table",
    "text",
]  # fmt: skip
Notation = Literal["", "sequence", "smiles"]
TargetKind = Literal["classes", "labels", "tokens"]
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


@runtime_checkable
class Tokenizer(Protocol):
    """How a language source reads text.

    Attributes:
        size: Tokens there are; ids run from 0 to ``size - 1``.
        pad: Id of the token that fills up.
        unknown: Id of the token of what is not known.
        mask: Id of the token that stands for what is to be guessed, if there is one.
        start: Id of the token before every text, if there is one.
        end: Id of the token behind every text, and between two, if there is one.
    """

    size: int
    pad: int
    unknown: int
    mask: int | None
    start: int | None
    end: int | None

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without start and end, as many as it takes."""
        ...

    def token(self, index: int) -> str:
        """How the token of that id is written."""
        ...

    def fingerprint(self) -> str:
        """A hash of everything that decides what :meth:`encode` returns."""
        ...


class Lexicon(nn.Module):
    """What a language source knows of its tokens.

    Arguments:
        tokenizer: How it reads text; ``None`` where that is not known.
        embeddings: (tokens, width): what stands for each token at the door ``embeddings``.
        weight: (tokens, width) of the layer that turns hidden states into token scores, where the
            source has one: ``weight @ h + bias``.
        bias: (tokens,).
    """

    embeddings: Tensor
    weight: Tensor | None
    bias: Tensor | None

    def __init__(
        self, tokenizer: Tokenizer | None, embeddings: Tensor, weight: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tokenizer = tokenizer
        for name, value in (("embeddings", embeddings), ("weight", weight), ("bias", bias)):
            self.register_buffer(name, None if value is None else value.detach())

    def fingerprint(self) -> str:
        """A hash of the tables and of what the tokenizer does."""
        digest = hashlib.sha256(b"" if self.tokenizer is None
                                else self.tokenizer.fingerprint().encode())  # fmt: skip
        for value in self.buffers():
            digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def rows(x: Tensor | Tokens) -> int:
    """Samples in a batch.

    Example:
        >>> rows(Tokens(torch.zeros(4, 9), torch.ones(4, 9)))
        4
    """
    return len(x.values if isinstance(x, Tokens) else x)


def select(x: Tensor | Tokens, index: Tensor) -> Tensor | Tokens:
    """Samples of a batch by their indices."""

    def part(tensor: Tensor) -> Tensor:
        return tensor[index.to(tensor.device)]

    return x.map(part) if isinstance(x, Tokens) else part(x)


def joined(parts: Sequence[Any]) -> Any:
    """Batches of one kind, tensors or tokens, one behind the other.

    Example:
        >>> part = Tokens(torch.zeros(4, 9), torch.ones(4, 9))
        >>> rows(joined([part, part]))
        8
    """
    if not isinstance(parts[0], Tokens):
        return torch.cat(list(parts))
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
            ``(tokens, width)`` of embeddings, ``(characters,)`` of a text: the longest there is.
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
            ``labels``, or one of the ``tokens`` at each place.
    """

    name: str
    input: InputSpec
    classes: tuple[str, ...]
    counts: tuple[int, ...] = field(default=())
    target: TargetKind = "classes"

    def json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "name": self.name,
            "kind": self.target,
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
            target=values["kind"],
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
