"""What an ONNX file of others cannot tell, stated as options; and what its graph tells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor

from reprogram.types import InputKind, InputSpec, Scores, UserError, nearest

OPTIONS = (
    "kind", "shape", "lower", "upper", "rate", "scores", "names", "mean", "std", "output",
)  # fmt: skip
KINDS = tuple(kind for kind in get_args(InputKind) if kind not in ("tokens", "embeddings"))
AXES = {"image": 3, "waveform": 1, "features": 2, "series": 2, "table": 1}  # of a sample
NEEDED = {"image": ("lower", "upper"), "waveform": ("lower", "upper", "rate")}
TOLD = {"logits": Scores.LOGITS, "probabilities": Scores.PROBABILITIES}
ENDS = {
    "Softmax": Scores.PROBABILITIES,
    "LogSoftmax": Scores.LOGITS,
    "Gemm": Scores.LOGITS,
    "MatMul": Scores.LOGITS,
}
"""The operator that gives the scores -> what they are."""


def refuse_unknown(options: dict[str, Any]) -> None:
    """Refuse an option that there is not, with the nearest that there are."""
    for name in options:
        if name not in OPTIONS:
            raise nearest("option of an ONNX source", name, OPTIONS)


@dataclass(frozen=True)
class Stated:
    """Options of a file, read one by one; as text, or as values.

    Example:
        >>> stated = Stated(Path("model.onnx"), {"mean": "0.5,0.4", "upper": 255})
        >>> stated.numbers("mean"), stated.number("upper")
        ((0.5, 0.4), 255.0)
    """

    path: Path
    options: dict[str, Any]

    def numbers(self, name: str) -> tuple[float, ...]:
        """The values of an option; none if it is absent."""
        value = self.options.get(name, ())
        parts = value.split(",") if isinstance(value, str) else value
        try:
            parts = tuple(map(float, parts if isinstance(parts, list | tuple) else [parts]))
        except (ValueError, TypeError):
            parts = (math.nan,)
        if not all(map(math.isfinite, parts)):
            raise UserError(f"{self.path}: option {name!r} is {value!r}; give a number, or several "
                            "with commas between them")  # fmt: skip
        return parts

    def number(self, name: str) -> float | None:
        """The one value of an option, or ``None``."""
        found = self.numbers(name)
        if len(found) > 1:
            raise UserError(f"{self.path}: option {name!r} is {self.options[name]!r}; give one "
                            "number")  # fmt: skip
        return found[0] if found else None

    def normalisation(self, spec: InputSpec) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation, shaped to act on a batch; ``None`` if they do nothing."""
        mean, std = self.numbers("mean") or (0.0,), self.numbers("std") or (1.0,)
        if (mean, std) == ((0.0,), (1.0,)):
            return None
        channels = spec.shape[0] if spec.kind == "image" else 1
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, channels):
                raise UserError(f"{self.path}: option {name!r} has {len(values)} values and the "
                                f"input {channels} channels; give one for each")  # fmt: skip
        if min(std) <= 0:
            raise UserError(f"{self.path}: option 'std' is {self.options['std']!r}; give values "
                            "above 0")  # fmt: skip
        shape = (-1, 1, 1) if spec.kind == "image" else ()
        return torch.tensor(mean).reshape(shape), torch.tensor(std).reshape(shape)

    def names(self, classes: int) -> tuple[str, ...]:
        """Names of the classes, from a file; none if it is not given."""
        if "names" not in self.options:
            return ()
        file = Path(self.options["names"])
        try:
            names = tuple(file.read_text(encoding="utf-8").splitlines())
        except (OSError, UnicodeDecodeError):
            raise UserError(f"{self.path}: option 'names' is {str(file)!r}, which is no text file; "
                            "give one with a class in each line") from None  # fmt: skip
        if len(names) != classes:
            raise UserError(f"{self.path}: {file} names {len(names)} classes and the graph has "
                            f"{classes}; give one name in each line")  # fmt: skip
        return names


def guess_input(shape: tuple[int | None, ...], stated: Stated) -> InputSpec:
    """What a graph takes, by the shape of a sample and by what is stated.

    Raises:
        UserError: if an option is needed, or does not fit the graph.

    Example:
        >>> guess_input((5,), Stated(Path("model.onnx"), {})).kind
        'table'
    """
    path = stated.path
    shape = _stated_shape(shape, stated)
    kind = stated.options.get("kind") or _kind(shape)
    if kind is None:
        raise UserError(f"{path} takes samples of shape {shape}; say what they are by option "
                        f"'kind': {', '.join(KINDS)}")  # fmt: skip
    if kind not in KINDS:
        raise nearest("kind of input", kind, KINDS)
    if kind in AXES and AXES[kind] != len(shape):
        raise UserError(f"{path} takes samples of shape {shape}; option 'kind' is {kind!r}, which "
                        f"has {AXES[kind]} axes")  # fmt: skip
    if kind == "image" and shape[0] not in (1, 3):
        last = shape[-1] in (1, 3)
        reason = "its channels come last" if last else f"that is {shape[0]} channels"
        raise UserError(f"{path} takes samples of shape {shape}: {reason}; an image is (channels, "
                        "height, width) with 1 or 3 channels")  # fmt: skip
    for name in NEEDED.get(kind, ()):
        if stated.number(name) is None:
            raise UserError(f"{path} takes {'an' if kind == 'image' else 'a'} {kind}, and the file "
                            f"does not tell {name!r}; give that option")  # fmt: skip
    lower, upper = stated.number("lower"), stated.number("upper")
    lower = -math.inf if lower is None else lower
    upper = math.inf if upper is None else upper
    if lower >= upper:
        raise UserError(f"{path}: options 'lower' and 'upper' are {lower:g} and {upper:g}; give "
                        "lower < upper")  # fmt: skip
    return InputSpec(cast(InputKind, kind), shape, lower, upper, rate=stated.number("rate"))


def guess_scores(model: Any, output: str, stated: Stated) -> Scores:
    """What an output tells: as stated, or by the operator that gives it.

    Raises:
        UserError: if neither says.
    """
    told = stated.options.get("scores")
    if told is not None:
        if told not in TOLD:
            raise nearest("value of option 'scores':", told, TOLD)
        return TOLD[told]
    last = next((node.op_type for node in model.graph.node if output in node.output), "nothing")
    if last not in ENDS:
        raise UserError(f"{stated.path}: output {output!r} comes from {last}; say what it tells by "
                        f"option 'scores': {' or '.join(TOLD)}")  # fmt: skip
    return ENDS[last]


def _stated_shape(shape: tuple[int | None, ...], stated: Stated) -> tuple[int, ...]:
    """The graph's, with what it leaves open from the option."""
    given = tuple(map(int, stated.numbers("shape"))) or shape
    fits = len(given) == len(shape) and all(
        a is not None and a > 0 and b in (None, a) for a, b in zip(given, shape, strict=False)
    )
    if not fits:
        said = f"option 'shape' is {stated.options['shape']!r}" if given != shape else "open"
        raise UserError(f"{stated.path} takes samples of shape {_written(shape)}, {said}; give "
                        "option 'shape', such as shape=3,224,224")  # fmt: skip
    return tuple(n for n in given if n is not None)


def _written(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('?' if n is None else str(n) for n in shape)})"


def _kind(shape: tuple[int, ...]) -> str | None:
    if len(shape) == 3 and (shape[0] in (1, 3) or shape[-1] in (1, 3)):
        return "image"
    return "table" if len(shape) == 1 else None
