"""How a model behind HTTP is asked, and where its answer stands: a JSON file, read with care."""

from __future__ import annotations

import json
import math
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from reprogram.types import InputKind, InputSpec, OutputSpec, Scores, UserError, nearest

SCORES = {
    "logits": Scores.LOGITS,
    "probabilities": Scores.PROBABILITIES,
    "topk": Scores.TOP_K,
    "label": Scores.LABEL,
}
ENCODES = {"png": "image", "wav": "waveform", "text": "tokens"}  # encoding -> kind of input
RESERVED = ("access", "adapter")  # options of a source's URI, which the URL cannot have too
UNANSWERING = {"headers", "batch", "concurrency", "timeout", "retries", "backoff", "price"}
CAREFUL = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)
VARIABLE = re.compile(r"\$\{(\w+)\}")
DESCRIBED = "docs/http.md describes it"
CHOICES = {
    "classes": "give a list of names, their number, or the path of a text file",
    "reply": 'give a path, or two: {"classes": PATH, "scores": PATH}',
}


def check_url(url: str) -> str:
    """The URL, if requests may go there.

    Raises:
        UserError: if it is not http(s), names no host, holds a password, a fragment, a variable or
            an option of a source's URI.

    Example:
        >>> check_url("https://models.example/v1/predict?model=birds")
        'https://models.example/v1/predict?model=birds'
    """
    if "@" in re.split("[/?#]", url.partition("//")[2] or url)[0]:  # a password is not repeated
        raise UserError("a URL holds no user name or password; put them into a header, as ${NAME} "
                        "of an environment variable")  # fmt: skip
    try:
        parts = urlsplit(url)
        complete = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        complete = False
    if not complete or not sendable(url) or " " in url:
        raise UserError(f"{url!r} is no URL; write http://HOST/PATH or https://HOST/PATH")
    if "#" in url or "${" in url:
        raise UserError(f"{url!r} holds a '#' or a variable; variables are for headers")
    reserved = [name for name in RESERVED if re.search(rf"[?&]{name}(=|&|$)", url)]
    if reserved:
        raise UserError(f"{url!r} has the parameter {reserved[0]!r}, which means something else in "
                        "the name of a source; use another")  # fmt: skip
    return url


def lines(value: Any, info: Any) -> Any:
    """The lines of a text file, if a path was given; a list as a tuple.

    Arguments:
        value: Of the field.
        info: Of pydantic's, with the folder of the adapter's file as its context.
    """
    if not isinstance(value, str):
        return tuple(value) if isinstance(value, list) else value
    path = Path((info.context or {}).get("folder", "."), value)
    try:
        return tuple(path.read_text(encoding="utf-8-sig").splitlines())
    except (OSError, ValueError) as error:
        raise UserError(f"file {path} cannot be read ({type(error).__name__}); give a text file "
                        "with one name a line") from None  # fmt: skip


class Input(BaseModel):
    """What the model takes; see :class:`~reprogram.types.InputSpec`.

    Arguments:
        kind: The modality.
        shape: Of one sample.
        lower: Smallest value, if there is one.
        upper: Largest value, if there is one.
        rate: Samples per second, where time has a unit.
    """

    model_config = CAREFUL
    kind: InputKind
    shape: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    lower: float | None = None
    upper: float | None = None
    rate: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Input:
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise UserError(f"lower is {self.lower:g} and upper {self.upper:g}; lower comes first")
        return self


class Pair(BaseModel):
    """Where the classes of an answer stand, and where their scores."""

    model_config = CAREFUL
    classes: str
    scores: str


class Adapter(BaseModel):
    """How a model behind HTTP is asked, and where its answer stands.

    Arguments:
        url: Where requests are posted.
        input: What the model takes.
        classes: Names of its classes in order, their number, or a text file with a name a line.
        scores: What it tells: ``logits``, ``probabilities``, ``topk`` or ``label``.
        encode: A sample as JSON: ``array`` (nested lists), ``png`` (8 bits a channel, base64),
            ``wav`` (16 bits, mono, base64) or ``text`` (words of ``vocabulary``).
        vocabulary: Words by token id, or a text file with a word a line.
        join: What stands between two words.
        request: The body, with ``"$inputs"`` where the samples of a request go as a list, or
            ``"$input"`` where its only one goes; text may surround the latter.
        sample: One sample among ``"$inputs"``, with ``"$input"`` where it goes.
        reply: Where the answer stands: a dotted path, in which a number is a place in a list and
            ``*`` each element of one; or two of them, of ``classes`` and ``scores``.
        batch: Most samples in a request.
        concurrency: Most requests at once, up to 64.
        timeout: Seconds until a request counts as lost.
        retries: How often a request is sent again.
        backoff: Seconds before the first retry; twice as long before each further one.
        headers: In their values ``${NAME}`` is an environment variable, read when a request is
            sent and kept nowhere.
        price: Of a thousand queries, in whatever currency.

    Raises:
        ValidationError: of pydantic's, if a field is missing, unknown or does not fit.

    Example:
        >>> adapter = Adapter(
        ...     url="https://models.example/predict", input={"kind": "image", "shape": (3, 32, 32)},
        ...     classes=["cat", "dog"], scores="label", reply="predictions.*.label")
        >>> adapter.input_spec.shape, adapter.output_spec.names, adapter.batch
        ((3, 32, 32), ('cat', 'dog'), 1)
    """

    model_config = CAREFUL
    url: str
    input: Input
    classes: Annotated[
        PositiveInt | Annotated[tuple[str, ...], Field(min_length=1)], BeforeValidator(lines)
    ]
    scores: Literal["logits", "probabilities", "topk", "label"]
    encode: Literal["array", "png", "wav", "text"] = "array"
    vocabulary: Annotated[tuple[str, ...] | None, BeforeValidator(lines)] = None
    join: str = " "
    request: Any = Field(default_factory=lambda: {"inputs": "$inputs"})
    sample: Any = "$input"
    reply: str | Pair
    batch: PositiveInt = 1
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    timeout: Annotated[float, Field(gt=0)] = 30.0
    retries: Annotated[int, Field(ge=0)] = 5
    backoff: Annotated[float, Field(ge=0)] = 0.5
    headers: Annotated[dict[str, str], Field(repr=False)] = Field(default_factory=dict)
    price: Annotated[float, Field(ge=0)] = 0.0

    _url = field_validator("url")(check_url)

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII):
                raise UserError(f"{name!r} is no name of a header")
            if not sendable(value):
                raise UserError(f"the value of {name!r} holds a character that no header may hold")
            if "${" in VARIABLE.sub("", value):
                raise UserError(f"the value of {name!r} holds '${{' that begins no ${{NAME}}")
        return headers

    @model_validator(mode="after")
    def _consistent(self) -> Adapter:
        self._check_encoding()
        asked, each = placeholders(self.request), placeholders(self.sample)
        mixed = self.single and any("$inputs" in text for text in asked)
        if not asked or mixed or not each or any("$inputs" in text for text in each):
            raise UserError("'request' holds \"$inputs\" once, as a string of its own, or "
                            "\"$input\", and 'sample' holds \"$input\"")  # fmt: skip
        if self.encode == "array" and {*asked, *each} - {"$input", "$inputs"}:
            raise UserError('text surrounds "$input", which is an array; only text, png and wav '
                            "are strings")  # fmt: skip
        if self.single and self.batch > 1:
            raise UserError(f"'batch' is {self.batch}, and \"$input\" in 'request' is one sample; "
                            'write "$inputs", or batch 1')  # fmt: skip
        paired = isinstance(self.reply, Pair)
        if paired and self.scores == "label":
            raise UserError("'reply' has two paths, and a label needs one")
        if not paired and self.scores == "topk":
            raise UserError("'reply' is one path; topk needs two: "
                            '{"classes": PATH, "scores": PATH}')  # fmt: skip
        return self

    def _check_encoding(self) -> None:
        kind = self.input.kind
        if self.encode in ENCODES and kind != ENCODES[self.encode]:
            raise UserError(f"'encode' is {self.encode}, which is for input of kind "
                            f"{ENCODES[self.encode]}, not {kind}")  # fmt: skip
        axes, bounds = len(self.input.shape), (self.input.lower, self.input.upper)
        if self.encode == "png" and (axes != 3 or self.input.shape[0] not in (1, 3)):
            raise UserError(f"'input.shape' is {list(self.input.shape)}; png takes [1 or 3, height,"
                            " width]")  # fmt: skip
        if self.encode == "png" and None in bounds:
            raise UserError("'input' has no lower and upper; png needs both, which become 0 and "
                            "255")  # fmt: skip
        if self.encode == "wav" and (axes != 1 or not self.input.rate or self.input.rate % 1):
            raise UserError("'input' of wav needs one axis of samples and a whole rate")
        if (self.encode == "text") != (self.vocabulary is not None):
            raise UserError("'vocabulary' goes with encode text, and text with a vocabulary")

    @property
    def input_spec(self) -> InputSpec:
        """What may enter; waveforms written as wav are in [-1, 1] unless bounds are given."""
        lower, upper = self.input.lower, self.input.upper
        default = (-math.inf, math.inf)
        if self.encode == "wav":
            default = (-1.0, 1.0)
        elif self.vocabulary is not None:
            default = (0.0, len(self.vocabulary) - 1.0)
        return InputSpec(
            self.input.kind,
            self.input.shape,
            default[0] if lower is None else lower,
            default[1] if upper is None else upper,
            rate=self.input.rate,
        )

    @property
    def output_spec(self) -> OutputSpec:
        """Classes, with their names where they are known."""
        if isinstance(self.classes, int):
            return OutputSpec("classes", (self.classes,))
        return OutputSpec("classes", (len(self.classes),), self.classes)

    @property
    def level(self) -> Scores:
        """What the model tells."""
        return SCORES[self.scores]

    @cached_property
    def index(self) -> dict[str, int]:
        """Classes by name, or by number as text; a name that stands twice tells nothing."""
        names = map(str, range(self.classes)) if isinstance(self.classes, int) else self.classes
        places: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            places.setdefault(name, []).append(place)
        return {name: where[0] for name, where in places.items() if len(where) == 1}

    @property
    def single(self) -> bool:
        """Whether a request holds one sample and its reply no batch axis."""
        return placeholders(self.request) != ["$inputs"]

    def answering(self) -> str:
        """What decides the answers, as text to be hashed; headers and patience do not."""
        return json.dumps(self.model_dump(exclude=UNANSWERING), sort_keys=True)


def sendable(value: str) -> bool:
    """Whether a header may hold it: printable ASCII."""
    return value.isascii() and value.isprintable()


def placeholders(template: Any) -> list[str]:
    """The strings of a template in which a sample or several stand.

    Example:
        >>> placeholders({"rows": [["$inputs"], 3], "note": "Image: $input"})
        ['$inputs', 'Image: $input']
    """
    if isinstance(template, str):
        return [template] if "$input" in template else []
    inner = template.values() if isinstance(template, dict) else template
    return [p for t in inner for p in placeholders(t)] if isinstance(template, dict | list) else []


def read_adapter(path: str | Path) -> Adapter:
    """The adapter in a JSON file; paths in it are relative to it.

    Raises:
        UserError: if the file cannot be read, or holds something else; the field is named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise UserError(f"adapter {path} cannot be read ({reason}); {DESCRIBED}") from None
    try:
        return Adapter.model_validate_json(text, strict=True, context={"folder": path.parent})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
    raise UserError(f"adapter {path}{told(dict(first))}; {DESCRIBED}")


def told(error: dict[str, Any]) -> str:
    """Field and reason of an error of pydantic's, on one line."""
    field, *inner = (str(part) for part in error["loc"] or ("",))
    reason = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = Input.model_fields if inner else Adapter.model_fields
        return f": {nearest('field', inner[0] if inner else field, known)}"
    if error["type"] not in ("value_error", "missing") and field in CHOICES:
        inner, reason = [], CHOICES[field]
    where = f", field {'.'.join([field, *inner])!r}" if field else ""
    return f"{where}: {' '.join(reason.split())}"
