"""What a program is asked, and what it answers: scores of classes, or images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reprogram import texts
from reprogram.types import InputSpec, TargetKind, TaskSpec, UserError


@dataclass(frozen=True)
class Predictions:
    """What a program says of a batch, in the batch's order.

    Attributes:
        classes: Names of the target classes; of the labels, or of the tokens.
        scores: Log-probabilities (batch, classes); of yes to each label (batch, labels); of the
            tokens at each place (batch, places, tokens); of the classes that each cell of an
            automaton says (batch, height, width, classes).
        target: What the task asks for.
    """

    classes: tuple[str, ...]
    scores: Tensor
    target: TargetKind = "classes"

    @property
    def probabilities(self) -> Tensor:
        """Of the shape of ``scores``; those of classes and of tokens sum to 1. Of an automaton
        (batch, classes): the share of its living cells that says each class."""
        return self._votes() if self.target == "cells" else self.scores.exp()

    @property
    def labels(self) -> list[str]:
        """Of each sample the likeliest class, the labels that are likelier than not (parted by
        commas), the likeliest token at each place (one behind the other), or what most cells
        say."""
        if self.target == "labels":
            likely = (self.probabilities > 0.5).tolist()
            return [",".join(c for c, yes in zip(self.classes, row, strict=True) if yes)
                    for row in likely]  # fmt: skip
        best = (self._votes() if self.target == "cells" else self.scores).argmax(-1).tolist()
        if self.target == "tokens":
            return ["".join(self.classes[i] for i in row) for row in best]
        return [self.classes[i] for i in best]

    def _votes(self) -> Tensor:
        """(batch, classes): a dead cell says the same of all classes, and has no vote."""
        living = self.scores.amax(-1) > self.scores.amin(-1)  # (batch, height, width)
        said = torch.nn.functional.one_hot(self.scores.argmax(-1), len(self.classes))
        votes = (said * living[..., None]).sum((1, 2))
        return votes / votes.sum(1, keepdim=True).clamp_min(1)


@dataclass(frozen=True)
class Images:
    """What a program made of wanted classes, in their order.

    Attributes:
        images: (batch, channels, height, width) in [0, 1]; four channels are red, green, blue and
            opacity, the colours multiplied by it.
        labels: The class that was wanted of each.
    """

    images: Tensor
    labels: tuple[str, ...]


def samples(x: Tensor | np.ndarray | Sequence[str], task: TaskSpec) -> Tensor:
    """Target samples as a tensor (samples, *task.input.shape).

    Raises:
        UserError: if the shape is not the task's, or something is no text where texts are wanted.
    """
    spec = task.input
    x = torch.as_tensor(_coded(x) if spec.kind == "text" else x)
    # a text may be of any length, and an automaton runs on a grid of any size
    free = {"text": 1, "image": 2 * (task.target == "cells")}.get(spec.kind, 0)
    fixed = spec.shape[: len(spec.shape) - free]
    if x.ndim != 1 + len(spec.shape) or tuple(x.shape[1 : 1 + len(fixed)]) != fixed:
        raise UserError(
            f"samples have shape {tuple(x.shape[1:])}; the program was fitted to {spec.shape}"
        )
    return x


def _coded(x: Tensor | np.ndarray | Sequence[str]) -> Tensor | np.ndarray:
    """Texts as code points."""
    if isinstance(x, str):
        raise UserError("argument 'x' is one text; give a list of texts")
    if isinstance(x, Tensor) or (isinstance(x, np.ndarray) and x.dtype.kind in "iuf"):
        return x
    given = list(x)
    if not all(isinstance(text, str) for text in given):
        raise UserError("argument 'x' holds something that is no text; give a list of texts")
    if "" in given:
        raise UserError(f"sample {given.index('')} is an empty text; remove it")
    return texts.encode(given)


def wanted(asked: Sequence[str | int], classes: tuple[str, ...]) -> Tensor:
    """Classes by name or whole number, as numbers (batch,).

    Raises:
        UserError: if there is no such class.
    """
    if isinstance(asked, str):
        raise UserError("argument 'classes' is one class; give a list of classes")
    numbers = []
    for given in asked:
        number = classes.index(given) if given in classes else given
        if isinstance(number, str) or number not in range(len(classes)):
            raise UserError(f"there is no class {given!r}; the program knows {', '.join(classes)}")
        numbers.append(float(number))
    return torch.tensor(numbers)


def natural(x: Tensor, spec: InputSpec) -> Tensor:
    """uint8 images in [0, 1]; everything as float32."""
    x = x.float() / 255 if x.dtype == torch.uint8 and spec.kind == "image" else x.float()
    if not torch.isfinite(x).all():
        raise UserError("a sample holds NaN or an infinite value; remove or fill it")
    return x


def log_probabilities(prediction: Tensor, target: TargetKind) -> Tensor:
    """Predictions of a model as log-probabilities, of the same shape."""
    if target == "labels":
        return torch.nn.functional.logsigmoid(prediction)
    return prediction.log_softmax(-1)
