"""Models in ONNX files: ``onnx:PATH``, run by onnxruntime, which lets no gradient pass."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reprogram.sources.base import Source, specs
from reprogram.sources.onnx_options import Stated, guess_input, guess_scores, refuse_unknown
from reprogram.sources.scores import log_scores
from reprogram.types import InputSpec, OutputSpec, Scores, UserError

METADATA = "reprogram"  # the key under which an export keeps its specifications
FLOATS = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
}
CHUNK = 256  # samples that onnxruntime is given at once: what they need beside them stays small


class Port(NamedTuple):
    """An input or output of a graph; an axis without a fixed length is ``None``."""

    name: str
    type: str
    shape: tuple[int | None, ...]


class OnnxSource(Source):
    """The model in an ONNX file: a black box that lets no gradient pass.

    What enters and what comes out stands in a file that
    :func:`~reprogram.sources.onnx_export.export_onnx` wrote. Of any other the graph tells the shape
    of a sample and the number of classes, and its last operator mostly what kind of scores they
    are; ``options`` state the rest, as text or as values. A graph that takes (batch, channels,
    height, width) with one or three channels is taken for one of images, (batch, columns) for one
    of tables.

    onnxruntime computes on the CPU, with as many threads as torch has when the file is opened.

    Arguments:
        path: The file.
        kind: Of the input: an :data:`~reprogram.types.InputKind` without tokens.
        shape: Of a sample, as ``"3,224,224"``; for a graph that leaves it open.
        lower: Smallest value a sample may hold; needed for images and waveforms.
        upper: Largest value; likewise.
        rate: Samples per second; needed for waveforms.
        scores: ``logits`` or ``probabilities``.
        names: A text file with the name of a class in each line.
        mean: Subtracted from each channel in front of the graph, as ``"0.485,0.456,0.406"``, or one
            value for all: natural units enter a source, and the graph gets ``(x - mean) / std``.
        std: What they are divided by.
        output: Name of the graph's output; needed if several look like scores.

    Raises:
        UserError: if the file is missing, damaged or beyond onnxruntime, an option is unknown or
            cannot be read, or one is needed.

    References:
        | ONNX: Open Neural Network Exchange, https://onnx.ai
    """

    gradient = False

    def __init__(self, path: str | Path, **options: Any) -> None:
        super().__init__()
        refuse_unknown(options)
        self.path = Path(path)
        self._session, graph = _open(self.path)
        self._digest = _digest(self.path, graph)
        self._normalisation: tuple[Tensor, Tensor] | None = None
        entrance = _entrance(self.path, self._session)
        self._batch, self._taken, self._type = entrance.shape[0], entrance.name, entrance.type
        told = next((p.value for p in graph.metadata_props if p.key == METADATA), None)
        if told is not None:
            self._follow(told, options)
        else:
            self._deduce(graph, entrance, Stated(self.path, options))
        query = "&".join(f"{name}={_text(value)}" for name, value in options.items())
        self.uri = f"onnx:{path}?{query}" if query else f"onnx:{path}"

    def _follow(self, told: str, options: dict[str, Any]) -> None:
        """Take the specifications from the file."""
        if options:
            raise UserError(f"{self.path} tells its own specifications; option "
                            f"{next(iter(options))!r} is for files that do not")  # fmt: skip
        try:
            values = json.loads(told)
            self.input = InputSpec.from_json(values["input"])
            kind, shape, names = (values["output"][key] for key in ("kind", "shape", "names"))
            self.output = OutputSpec(kind, tuple(shape), tuple(names))
            self.scores = Scores[values["scores"]]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self.path}: the specifications in its metadata cannot be read; "
                            "export it again") from None  # fmt: skip
        self._given = self._session.get_outputs()[0].name

    def _deduce(self, graph: Any, entrance: Port, stated: Stated) -> None:
        """Take the specifications from the graph and from what is stated."""
        self.input = guess_input(entrance.shape[1:], stated)
        exit = _exit(self.path, self._session, stated.options.get("output"))
        self._given = exit.name
        self._normalisation = stated.normalisation(self.input)
        classes = exit.shape[1]
        if classes is None:
            answer = self._run(np.zeros((1, *self.input.shape)))
            classes = answer.shape[-1] if answer.ndim == 2 else 0
        if classes < 2:
            raise UserError(f"{self.path}: output {exit.name!r} has {classes} classes; a "
                            "classifier has 2 or more")  # fmt: skip
        self.scores = guess_scores(graph, exit.name, stated)
        self.output = OutputSpec("classes", (classes,), stated.names(classes))

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """(batch, *input.shape) -> (batch, *output.shape)."""
        if tuple(x.shape[1:]) != self.input.shape:
            raise UserError(f"source {self.uri} takes samples of shape {self.input.shape}; "
                            f"{tuple(x.shape[1:])} was given")  # fmt: skip
        x, device = x.detach().cpu(), x.device
        if self._normalisation is not None:
            mean, std = self._normalisation
            x = (x - mean) / std
        parts = [self._run(part) for part in _chunks(x.numpy(), self._batch or CHUNK)]
        raw = torch.from_numpy(np.concatenate(parts)[: len(x)])
        if self.output.kind != "classes":
            return raw.to(device)
        return log_scores(raw, self.scores, self.output.shape[0], device=device)

    def _run(self, x: np.ndarray) -> np.ndarray:
        """One call; a fixed batch is filled up with zeros, whose answers come last."""
        x = x.astype(FLOATS[self._type])
        if self._batch is not None and len(x) < self._batch:
            x = np.concatenate([x, np.zeros((self._batch - len(x), *x.shape[1:]), x.dtype)])
        try:
            (answer,) = self._session.run([self._given], {self._taken: x})
        except Exception as error:
            raise UserError(f"{self.path}: {_reason(error)}") from error
        return answer

    def fingerprint(self) -> str:
        """SHA-256 over the file, the files with its weights, and the specifications."""
        normalised = [part.flatten().tolist() for part in self._normalisation or ()]
        text = json.dumps([specs(self), self._given, normalised])
        return hashlib.sha256(self._digest + text.encode()).hexdigest()


def load(name: str, **options: str) -> OnnxSource:
    """The source ``onnx:PATH``.

    Arguments:
        name: ``PATH``, or ``PATH?option=value&...``.
        options: Of :class:`OnnxSource`, as text.

    Raises:
        UserError: as :class:`OnnxSource` does, and for an option that stands twice.
    """
    path, _, query = name.partition("?")
    for part in query.split("&") if query else ():
        key, separator, value = part.partition("=")
        if not separator:
            raise UserError(f"source 'onnx:{name}': {part!r} is no option; write option=value")
        if key in options:
            raise UserError(f"source 'onnx:{name}': option {key!r} stands twice; give it once")
        options[key] = value
    return OnnxSource(path, **options)


def _open(path: Path) -> tuple[Any, Any]:
    """The session that runs a file, and the graph as it is described there."""
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise UserError("ONNX files need onnxruntime and onnx: pip install "
                        "'reprogram[onnx]'") from None  # fmt: skip
    if not path.is_file():
        raise UserError(f"there is no ONNX file at {path}; write onnx:PATH")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = torch.get_num_threads(), 1
    settings.use_deterministic_compute = True
    settings.log_severity_level = 4  # what is fatal is raised as well
    try:
        model = onnx.load(str(path), load_external_data=False)
        session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of protobuf and onnxruntime: families of their own
        raise UserError(f"{path} is no ONNX file that onnxruntime can run: {_reason(error)}"
                        ) from error  # fmt: skip
    return session, model


def _reason(error: Exception) -> str:
    """The first line of what onnxruntime says, without its codes."""
    text = str(error).strip().partition("\n")[0]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    return text or type(error).__name__


def _digest(path: Path, graph: Any) -> bytes:
    """SHA-256 over a file and the files beside it that hold its weights."""
    digest = hashlib.sha256(path.read_bytes())
    for name in sorted(set(_external(graph.graph))):
        with (path.parent / name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.digest()


def _external(graph: Any) -> Iterator[str]:
    """Names of the files in which tensors of a graph lie, in graphs within it too."""
    tensors = list(graph.initializer)
    for attribute in (a for node in graph.node for a in node.attribute):
        tensors += [attribute.t, *attribute.tensors]
        for inner in (attribute.g, *attribute.graphs):
            yield from _external(inner) if inner.node or inner.initializer else ()
    for tensor in tensors:
        yield from (entry.value for entry in tensor.external_data if entry.key == "location")


def _ports(found: Any) -> list[Port]:
    """Inputs or outputs of a session."""
    return [
        Port(p.name, p.type, tuple(n if isinstance(n, int) and n > 0 else None for n in p.shape))
        for p in found
    ]


def _entrance(path: Path, session: Any) -> Port:
    """The one input of a graph."""
    ports = _ports(session.get_inputs())
    if len(ports) != 1 or ports[0].type not in FLOATS or len(ports[0].shape) < 2:
        found = ", ".join(f"{p.name}: {p.type} {list(p.shape)}" for p in ports)
        raise UserError(f"{path} takes {found or 'nothing'}; a source takes one tensor of floats, "
                        "the batch first")  # fmt: skip
    return ports[0]


def _exit(path: Path, session: Any, name: str | None) -> Port:
    """The output of a graph that holds a score for each class: floats (batch, classes)."""
    ports = _ports(session.get_outputs())
    fitting = [p for p in ports if p.type in FLOATS and len(p.shape) == 2]
    chosen = [p for p in fitting if p.name == name] if name is not None else fitting
    if len(chosen) != 1:
        found = ", ".join(f"{p.name}: {p.type} {list(p.shape)}" for p in ports)
        said = f"option 'output' is {name!r}" if name is not None else "which are its scores?"
        remedy = f"give option 'output' as {' or '.join(repr(p.name) for p in fitting)}"
        raise UserError(f"{path} returns {found}; {said}; "
                        f"{remedy if fitting else 'floats (batch, classes) are needed'}"
                        )  # fmt: skip
    return chosen[0]


def _chunks(x: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Some rows after the others; of no rows, those."""
    return (x[start : start + size] for start in range(0, max(len(x), 1), size))


def _text(value: Any) -> str:
    """An option as it is written in a URI."""
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
