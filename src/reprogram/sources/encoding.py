"""Samples as JSON, and replies as log-scores."""

from __future__ import annotations

import base64
import io
import json
import math
import wave
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprogram.sources.adapter import Adapter, Pair
from reprogram.sources.scores import log_scores
from reprogram.types import Batch, Tokens, UserError

SLACK = 1e-3  # probabilities are rounded by those who print them


class Unusable(Exception):
    """A reply that holds no answer where one was promised."""


def encode(x: Batch, adapter: Adapter) -> list[Any]:
    """Each sample as a JSON value.

    Arguments:
        x: (batch, *input.shape); for ``text`` token ids (batch, length).
        adapter: Says how.

    Raises:
        UserError: if a shape or a value does not fit.

    Example:
        >>> adapter = Adapter(
        ...     url="http://localhost", input={"kind": "table", "shape": (2,)}, classes=3,
        ...     scores="label", reply="*")
        >>> encode(torch.tensor([[0.5, 1.0]]), adapter)
        [[0.5, 1.0]]
    """
    if adapter.vocabulary is not None:
        return _texts(x, adapter.vocabulary, adapter.join)
    if not isinstance(x, Tensor):
        raise UserError(f"the source takes {adapter.input.kind} as {adapter.encode}; tokens go as "
                        "'encode' text")  # fmt: skip
    if tuple(x.shape[1:]) != adapter.input.shape:
        raise UserError(f"the source takes samples of shape {list(adapter.input.shape)}, not "
                        f"{list(x.shape[1:])}; mend 'input' in the adapter")  # fmt: skip
    x = x.detach().cpu()
    array = (x.float() if x.dtype in (torch.float16, torch.bfloat16) else x).numpy()
    if not np.isfinite(array).all():
        raise UserError("a sample holds a value that is not finite; nothing was sent")
    if adapter.encode == "png":
        return [_png(image, adapter) for image in array]
    if adapter.encode == "wav":
        return [_wav(waveform, adapter) for waveform in array]
    return array.tolist()


def _png(image: np.ndarray, adapter: Adapter) -> str:
    from PIL import Image

    spec = adapter.input_spec
    level = (image.astype(np.float64) - spec.lower) / (spec.upper - spec.lower)
    pixels = (255 * level.clip(0, 1)).round().astype(np.uint8)
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def _wav(waveform: np.ndarray, adapter: Adapter) -> str:
    spec = adapter.input_spec
    bounds = [abs(bound) for bound in (spec.lower, spec.upper) if math.isfinite(bound)]
    level = (waveform.astype(np.float64) / max([*bounds, 1e-12])).clip(-1, 1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(spec.rate or 1))
        file.writeframes((32767 * level).round().astype("<i2").tobytes())
    return base64.b64encode(buffer.getvalue()).decode()


def _texts(x: Batch, vocabulary: tuple[str, ...], join: str) -> list[str]:
    ids = x if isinstance(x, Tensor) else x.values
    if ids.ndim != 2 or ids.is_floating_point():
        raise UserError(f"a source of text takes token ids (batch, length) of integers, not "
                        f"{ids.dtype} of shape {list(ids.shape)}")  # fmt: skip
    mask = x.mask if isinstance(x, Tokens) else torch.ones_like(ids)
    standing = ids[mask.bool()]
    outside = standing[(standing < 0) | (standing >= len(vocabulary))]
    if len(outside):
        raise UserError(f"token id {int(outside[0])} is outside the vocabulary of "
                        f"{len(vocabulary)} words")  # fmt: skip
    return [
        join.join(vocabulary[i] for i, told in zip(row, keep, strict=True) if told)
        for row, keep in zip(ids.tolist(), mask.tolist(), strict=True)
    ]


def body(samples: list[Any], adapter: Adapter) -> bytes:
    """The request that asks about some samples."""
    if adapter.single:
        request = _fill(adapter.request, "$input", samples[0])
    else:
        each = [_fill(adapter.sample, "$input", sample) for sample in samples]
        request = _fill(adapter.request, "$inputs", each)
    return json.dumps(request, allow_nan=False).encode()


def _fill(template: Any, word: str, value: Any) -> Any:
    if template == word:
        return value
    if isinstance(template, str):
        return template.replace(word, value) if isinstance(value, str) else template
    if isinstance(template, dict):
        return {key: _fill(inner, word, value) for key, inner in template.items()}
    if isinstance(template, list):
        return [_fill(inner, word, value) for inner in template]
    return template


def read_reply(raw: bytes, count: int, adapter: Adapter) -> Tensor:
    """Log-scores (count, classes) of a reply.

    Raises:
        Unusable: if it is not JSON, or does not hold ``count`` answers where they were promised.

    Example:
        >>> adapter = Adapter(
        ...     url="http://localhost", input={"kind": "table", "shape": (2,)},
        ...     classes=["cat", "dog"], scores="label", reply="predictions.*.label")
        >>> read_reply(b'{"predictions": [{"label": "dog"}]}', 1, adapter).argmax(1)
        tensor([1])
    """
    try:
        reply = json.loads(raw)
    except (ValueError, RecursionError):
        raise Unusable("a reply that is not JSON") from None
    try:
        if isinstance(adapter.reply, Pair):
            return _paired(reply, count, adapter)
        rows = _rows(reply, adapter.reply, count, adapter)
        if adapter.scores == "label":
            answer: Any = [_class(row, adapter) for row in rows]
        else:
            answer = [[_number(value, adapter) for value in _list(row)] for row in rows]
            if len({len(row) for row in answer}) > 1:
                raise Unusable("rows of several lengths")
        return _log_scores(answer, adapter)
    except UserError as error:
        raise Unusable(str(error)) from None


def _paired(reply: Any, count: int, adapter: Adapter) -> Tensor:
    """Rows of classes beside rows of scores: the best few, or all of them in any order."""
    assert isinstance(adapter.reply, Pair)
    classes = adapter.output_spec.shape[0]
    answers = []
    for labels, values in zip(
        _rows(reply, adapter.reply.classes, count, adapter),
        _rows(reply, adapter.reply.scores, count, adapter),
        strict=True,
    ):
        where = [_class(label, adapter) for label in _list(labels)]
        told = [_number(value, adapter) for value in _list(values)]
        if len(where) != len(told) or len(set(where)) != len(where):
            raise Unusable(f"{len(where)} classes, {len(set(where))} of them different, beside "
                           f"{len(told)} scores")  # fmt: skip
        if adapter.scores == "topk":
            answers.append(_log_scores(([where], [told]), adapter))
            continue
        if len(where) != classes:
            raise Unusable(f"scores of {len(where)} of {classes} classes; scores topk takes those")
        order = [value for _, value in sorted(zip(where, told, strict=True))]
        answers.append(_log_scores([order], adapter))
    return torch.cat(answers)


def _log_scores(answer: Any, adapter: Adapter) -> Tensor:
    spec = adapter.output_spec
    return log_scores(answer, adapter.level, spec.shape[0]).float()


def _rows(reply: Any, path: str, count: int, adapter: Adapter) -> list[Any]:
    """What stands at a path, a row for each sample."""
    found = _at(reply, path.split(".") if path else [], path)
    rows = [found] if adapter.single else _list(found)
    if len(rows) != count:
        raise Unusable(f"{len(rows)} rows for {count} samples at {path!r}")
    return rows


def _at(value: Any, steps: list[str], path: str) -> Any:
    if not steps:
        return value
    first, *rest = steps
    if first == "*" and isinstance(value, list):
        return [_at(inner, rest, path) for inner in value]
    if isinstance(value, dict) and first in value:
        return _at(value[first], rest, path)
    if isinstance(value, list) and first.isdecimal() and int(first) < len(value):
        return _at(value[int(first)], rest, path)
    raise Unusable(f"a reply without {first!r} of {path!r}")


def _class(label: Any, adapter: Adapter) -> int:
    if type(label) is int:
        return label
    if isinstance(label, str) and label in adapter.index:
        return adapter.index[label]
    raise Unusable(f"a class {label} that 'classes' does not name, or names twice")


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Unusable(f"{type(value).__name__} where a list was promised")
    return value


def _number(value: Any, adapter: Adapter) -> float:
    if type(value) not in (int, float):
        raise Unusable(f"a score that is {type(value).__name__}, not a number")
    try:
        score = float(value)
    except OverflowError:
        score = math.inf
    if not math.isfinite(score):
        raise Unusable("a score that is not finite")
    if adapter.scores != "logits" and not -SLACK <= score <= 1 + SLACK:
        raise Unusable(f"a score of {score:g}, which is no probability")
    return score
