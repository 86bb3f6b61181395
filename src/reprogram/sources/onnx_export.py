"""Torch sources as ONNX files, so that the same model can be had as a black box."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reprogram.files import atomic_write
from reprogram.sources.base import Source
from reprogram.sources.control import noise
from reprogram.sources.onnx import METADATA, OnnxSource
from reprogram.types import UserError

TOLERANCE = 1e-4  # of the scores' spread


def export_onnx(source: Source, path: str | Path) -> Path:
    """Write a source as an ONNX file; ``onnx:PATH`` then gives the same scores.

    The batch axis stays open, the weights stand in the file, and so do the specifications. Before
    the file takes its place, onnxruntime answers two seeded samples with it, and the answers are
    compared.

    Arguments:
        source: Whose weights can be seen, at the door that is wanted; it takes one tensor.
        path: Where the file shall stand.

    Returns:
        ``path``.

    Raises:
        UserError: if the source is opaque or takes tokens, an operator has no ONNX form, the
            answers differ by more than 1e-4 of the scores' spread, or a package is missing;
            nothing is written then.

    Example:
        >>> import tempfile
        >>> from reprogram.sources import load
        >>> source = load("zoo:images")
        >>> path = export_onnx(source, Path(tempfile.mkdtemp()) / "images.onnx")
        >>> black_box = load(f"onnx:{path}")
        >>> black_box.gradient, largest_difference(source, black_box) < 1e-4
        (False, True)
    """
    name, chain = source.uri or "given", getattr(source, "chain", None)
    if chain is None:
        raise UserError(f"source {name} is opaque: only a torch module can be exported")
    if source.input.kind in ("tokens", "embeddings"):
        raise UserError(f"source {name} takes {source.input.kind}; only sources that take one "
                        "tensor can be exported")  # fmt: skip
    program = _translate(_Chain(chain), _samples(source), name)
    program.model.metadata_props[METADATA] = json.dumps(
        {
            "input": source.input.json(),
            "output": source.output.json(),
            "scores": source.scores.name,
            "source": source.uri,
        }
    )
    with atomic_write(path) as temporary:
        program.save(temporary, external_data=False)
        apart = largest_difference(source, OnnxSource(temporary))
        if not apart <= TOLERANCE:
            raise UserError(f"source {name} answers otherwise as ONNX: by {apart:.1g} of the "
                            f"scores' spread, at most {TOLERANCE:g} is allowed")  # fmt: skip
    return Path(path)


@torch.no_grad()
def largest_difference(source: Source, other: Source) -> float:
    """Of two sources' answers to two seeded samples, over the spread of the first's answers."""
    x = _samples(source)
    expected = source(x)
    spread = (expected.max() - expected.min()).clamp_min(torch.finfo(expected.dtype).tiny)
    return float((expected - other(x)).abs().max() / spread)


class _Chain(nn.Module):
    """A copy of a source's chain that takes no frozen form (``frozen_conv.py``).

    Those forms are for weights that want no gradient, and have no ONNX equivalent.
    """

    def __init__(self, chain: nn.ModuleList) -> None:
        super().__init__()
        self.chain = copy.deepcopy(chain).cpu().requires_grad_(True)
        self.train(False)

    def forward(self, x: Tensor) -> Tensor:
        """What the last stage returns, before it is read as log-scores."""
        for stage in self.chain:
            x = stage(x)
        return x


def _samples(source: Source) -> Tensor:
    """Two, seeded, within the door's bounds."""
    x = noise(source.input, torch.Generator().manual_seed(0))
    assert isinstance(x, Tensor)
    return x[:2]


def _translate(module: nn.Module, x: Tensor, name: str) -> Any:
    """The module as an ONNX program, its batch axis open."""
    shapes = ({0: torch.export.Dim("batch")},)
    try:
        with _quiet(), torch.no_grad():
            return torch.onnx.export(
                module, (x,), dynamo=True, verbose=False, dynamic_shapes=shapes,
                input_names=["input"], output_names=["output"],
            )  # fmt: skip
    except ImportError:
        raise UserError("an export to ONNX needs onnx and onnxscript: pip install "
                        "'reprogram[onnx]'") from None  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().partition("\n")[0]
        raise UserError(f"source {name} has no ONNX form: {cause}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """What the exporter tells of its own doings stays unsaid."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
