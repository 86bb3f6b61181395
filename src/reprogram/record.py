"""What a program's directory holds, read with care: nothing unpickled, nothing believed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from reprogram.draws import forked_rng
from reprogram.sources import Source, bare
from reprogram.sources.control import noise
from reprogram.types import UserError, mapped, select

FORMAT = 1
TENSORS, RECORD, CHECKPOINT = "program.safetensors", "program.json", "checkpoint"
PROBED = 1000  # numbers of a source's output that are kept, at most: a state has a hundred thousand
TOLERANCE = 1e-3  # of probe logits: other machines and threads add in another order


class SourceRecord(BaseModel):
    """What a program remembers of its source."""

    model_config = ConfigDict(extra="forbid")
    uri: str | None
    scores: int
    input: dict[str, Any]
    output: dict[str, Any]
    fingerprint: str
    probe: list[list[float]] | None
    tokenizer: str | None = None


class Record(BaseModel):
    """The file ``program.json``."""

    model_config = ConfigDict(extra="forbid")
    format: Literal["reprogram.program"]
    format_version: int
    library_version: str
    recipe: str | None
    parameters: dict[str, Any]
    transformation: dict[str, Any]
    mapping: dict[str, Any]
    source: SourceRecord
    task: dict[str, Any]
    metrics: dict[str, Any]
    seed: int
    date: str


def probe(source: Source) -> Tensor:
    """The source's output (2, up to 1,000) on two seeded samples, which are on no account; of a
    larger one every second, or third, and so on."""
    source = bare(source)
    generator = torch.Generator().manual_seed(0)
    spec = source.input
    if spec.kind in ("tokens", "embeddings"):
        x = select(noise(spec, generator), torch.arange(2))
    else:
        x = torch.rand((2, *spec.shape), generator=generator)
        if np.isfinite(spec.lower) and np.isfinite(spec.upper):
            x = x * (spec.upper - spec.lower) + spec.lower
    device = next((p.device for p in source.parameters()), torch.device("cpu"))
    with torch.no_grad(), forked_rng(0, 0):
        x = mapped(x, lambda part: part.to(device))
        return _thinned(source(x).float().cpu().flatten(1))


def _thinned(x: Tensor) -> Tensor:
    return x[:, :: max(1, math.ceil(x.shape[1] / PROBED))]


def reading(source: Source) -> str | None:
    """A hash of how the source reads text, where it does and tells."""
    lexicon = source.lexicon
    known = lexicon is not None and lexicon.tokenizer is not None
    return lexicon.tokenizer.fingerprint() if known else None  # pyright: ignore


def difference(record: SourceRecord, source: Source) -> str | None:
    """In what a source differs from the one a program was fitted to; ``None``: in nothing."""
    for name, spec in (("input", source.input.json()), ("output", source.output.json())):
        old = getattr(record, name)
        changed = [key for key in old.keys() | spec.keys() if old.get(key) != spec.get(key)]
        if changed:
            key = sorted(changed)[0]
            return f"its {name} specification differs: {key} was {old.get(key)}, is {spec.get(key)}"
    if record.scores != int(source.scores):
        return "its scores are of another kind"
    if record.fingerprint == source.fingerprint():
        return None
    if record.tokenizer != reading(source):
        return "its tokenizer is another, so that it would read texts otherwise"
    if record.probe is None:
        return "its weights differ"
    now = probe(source)
    if [len(row) for row in record.probe] != [now.shape[1]] * len(now):
        return "its weights differ"
    apart = float((torch.tensor(record.probe) - now).abs().max())
    if apart <= TOLERANCE:
        return f"its weights differ (its logits on the stored probe by no more than {apart:.1g})"
    return f"its weights differ, and its logits on the stored probe by {apart:.3g}"


def read_record(path: Path) -> Record:
    """The file ``program.json`` of a program's directory.

    Raises:
        UserError: if it is missing, damaged, foreign, or of another format version.
    """
    file = path / RECORD
    if not path.is_dir():
        raise UserError(f"no such program: {path} is not a folder")
    if not file.is_file():
        unfinished = (path / CHECKPOINT).is_dir()
        hint = "; it holds an unfinished run: continue it with --resume" if unfinished else ""
        raise UserError(f"no program in {path}: {RECORD} is missing{hint}")
    try:
        raw = json.loads(file.read_text())
    except (ValueError, OSError, RecursionError):
        raise UserError(f"program {file} is damaged: it is not JSON") from None
    if not isinstance(raw, dict) or raw.get("format") != "reprogram.program":
        raise UserError(f"{file} is not a program of this library")
    if raw.get("format_version") != FORMAT:
        raise UserError(
            f"program {file} has format version {raw.get('format_version')}; this library reads "
            f"{FORMAT}: install the version that wrote it ({raw.get('library_version')})"
        )
    try:
        return Record.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"program {file} is damaged at {where!r}: {first['msg']}") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The file ``program.safetensors`` of a program's directory.

    Raises:
        UserError: if it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = path / TENSORS
    if not file.is_file():
        raise UserError(f"no program in {path}: {TENSORS} is missing")
    try:
        return load_file(file)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"program {file} is damaged or no safetensors file: {error}") from None
