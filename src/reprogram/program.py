"""A program: the trained pair of transformation and mapping, kept by itself on disk."""

from __future__ import annotations

import dataclasses
import datetime
import json
import warnings
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprogram import parts, sources
from reprogram.draws import forked_rng
from reprogram.files import atomic_directory
from reprogram.mappings import Mapping
from reprogram.model import Reprogrammed
from reprogram.predictions import Images, Predictions, log_probabilities, natural, samples, wanted
from reprogram.record import (
    CHECKPOINT,
    FORMAT,
    RECORD,
    TENSORS,
    Record,
    SourceRecord,
    difference,
    probe,
    read_record,
    read_tensors,
    reading,
)
from reprogram.sources import Source
from reprogram.transformations import Transformation
from reprogram.types import TaskSpec, UserError


@dataclass
class Program:
    """A transformation and a mapping, bound to their source and ready to predict.

    Arguments:
        source: The frozen source.
        transformation: Bound and trained.
        mapping: Bound and trained.
        task: What the target task looks like.
        recipe: Name of the recipe that composed it.
        parameters: Every parameter of the recipe.
        metrics: Measured by ``fit``, by split.
        seed: Of the run.

    Example:
        >>> import reprogram
        >>> source, task = reprogram.load_source("zoo:images"), reprogram.load_task("digits")
        >>> program = reprogram.fit(reprogram.recipes.ar(source, task, epochs=1), task.limit(64))
        >>> program.predict(task.test.inputs[:3]).probabilities.shape
        torch.Size([3, 10])
    """

    source: Source
    transformation: Transformation
    mapping: Mapping
    task: TaskSpec
    recipe: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    @property
    def model(self) -> Reprogrammed:
        """The reprogrammed model, in evaluation mode."""
        return Reprogrammed(self.source, self.transformation, self.mapping).eval()

    @property
    def device(self) -> torch.device:
        """Where the program computes."""
        tensors = [*self.tensors().values(), *self.source.parameters()]
        return tensors[0].device if tensors else torch.device("cpu")

    def tensors(self) -> dict[str, Tensor]:
        """What was trained, fitted or drawn, by name."""
        state = {f"transformation.{n}": t for n, t in self.transformation.state_dict().items()}
        return state | {f"mapping.{n}": t for n, t in self.mapping.state_dict().items()}

    @property
    def trained(self) -> int:
        """Number of trained parameters."""
        trainable = [*self.transformation.parameters(), *self.mapping.parameters()]
        return sum(p.numel() for p in trainable)

    @property
    def size(self) -> int:
        """Bytes of the tensors on disk."""
        return len(self._serialised())

    def _serialised(self) -> bytes:
        from safetensors.torch import save

        return save({name: t.detach().cpu().contiguous() for name, t in self.tensors().items()})

    @torch.no_grad()
    def predict(
        self, x: Tensor | np.ndarray | Sequence[str], *, batch_size: int = 64, seed: int = 0
    ) -> Predictions:
        """Class probabilities of target samples.

        Arguments:
            x: (samples, *task.input.shape), in the task's natural units; texts, where the task's
                samples are texts.
            batch_size: Samples in one source call.
            seed: Of what source and program draw, if they do; the same one gives the same answers.

        Raises:
            UserError: if the shape is not the task's, a value is not finite, or the program makes
                images.
        """
        if self.task.target == "image":
            raise UserError(f"a program of {self.task.name} makes images: ask draw(classes)")
        output = self._answer(samples(x, self.task), batch_size, seed)
        scores = log_probabilities(output, self.task.target)
        return Predictions(self.task.classes, scores, self.task.target)

    def draw(self, classes: Sequence[str | int], *, batch_size: int = 64, seed: int = 0) -> Images:
        """Images of wanted classes.

        Arguments:
            classes: By name or number, one an image.
            batch_size: Images in one source call.
            seed: Of the noise; the same one gives the same images.

        Raises:
            UserError: if there is no such class, or the program makes no images.
        """
        if self.task.target != "image":
            raise UserError(f"a program of {self.task.name} makes no images: ask predict(samples)")
        x = wanted(classes, self.task.classes)
        images = self._answer(x, batch_size, seed)
        return Images(images, tuple(self.task.classes[int(i)] for i in x))

    @torch.no_grad()
    def _answer(self, x: Tensor, batch_size: int, seed: int) -> Tensor:
        """What the model says of a batch, call by call."""
        model, device = self.model, self.device
        grid = x.shape[-2:] if self.task.target == "cells" else ()
        empty = self.task.shape or (*grid, len(self.task.classes))
        outputs = [torch.zeros(0, *empty)] if not len(x) else []
        with forked_rng(seed, 0):
            for batch in x.split(batch_size) if len(x) else ():
                outputs.append(model(natural(batch, self.task.input).to(device)).cpu())
        return torch.cat(outputs)

    def folded(self) -> Program:
        """The same program with its transformation frozen to what it has come to: a table of token
        embeddings, say, in place of what the table is made of. It predicts the same and is not
        trained further."""
        transformation = self.transformation.eval().folded()
        return dataclasses.replace(self, transformation=transformation)

    def describe(self) -> dict[str, Any]:
        """The record that :meth:`save` writes, as JSON values."""
        source = self.source
        return Record(
            format="reprogram.program",
            format_version=FORMAT,
            library_version=version("reprogram"),
            recipe=self.recipe,
            parameters=self.parameters,
            transformation=parts.describe(self.transformation),
            mapping=parts.describe(self.mapping),
            source=SourceRecord(
                uri=source.uri,
                scores=int(source.scores),
                input=source.input.json(),
                output=source.output.json(),
                fingerprint=source.fingerprint(),
                probe=probe(source).tolist() if source.gradient else None,
                tokenizer=reading(source),
            ),
            task=self.task.json(),
            metrics=self.metrics,
            seed=self.seed,
            date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        ).model_dump()

    def save(self, path: str | Path, *, beside: Dictionary[str, str] | None = None) -> Path:
        """Write the program's directory, whole or not at all; one that stands there is replaced.

        Arguments:
            path: The directory.
            beside: Further text files to put into it, by name.

        Raises:
            UserError: if it cannot be written (the disk is full, say) or other files stand there;
                what stood there is kept.
        """
        path = Path(path)
        own = any((path / name).exists() for name in (RECORD, CHECKPOINT))
        if path.is_dir() and any(path.iterdir()) and not own:
            raise UserError(f"{path} holds other files, which saving would replace; choose "
                            "another folder")  # fmt: skip
        record = json.dumps(self.describe(), indent=1, allow_nan=False)
        with atomic_directory(path) as folder:
            (folder / TENSORS).write_bytes(self._serialised())
            (folder / RECORD).write_text(record)
            for name, text in (beside or {}).items():
                (folder / name).write_text(text)
        return path

    @classmethod
    def load(
        cls,
        path: str | Path,
        source: Source | None = None,
        *,
        strict: bool = True,
        device: str | torch.device = "cpu",
    ) -> Program:
        """Read a program and verify its source.

        Arguments:
            path: The directory that :meth:`save` wrote, or a run directory.
            source: The source to stand on; by default the one that the program names by URI.
            strict: Whether a changed source is an error; else it is a warning.
            device: Where to compute.

        Raises:
            UserError: if there is no program, it is damaged or of a foreign format, or the source
                differs, saying in what.
        """
        path = Path(path)
        record = read_record(path)
        tensors = read_tensors(path)
        if source is None:
            if record.source.uri is None:
                raise UserError(f"program {path} names no source; give one: load(path, source=...)")
            source = sources.load(record.source.uri)
        differs = difference(record.source, source)
        if differs:
            message = f"program {path}: the source is not the one it was fitted to: {differs}"
            if strict:
                raise UserError(
                    f"{message}; pass strict=False (--no-strict) to use it all the same"
                )
            warnings.warn(message, stacklevel=2)
        try:
            program = cls(
                source=source,
                transformation=parts.build("transformations", record.transformation),
                mapping=parts.build("mappings", record.mapping),
                task=TaskSpec.from_json(record.task),
                recipe=record.recipe,
                parameters=record.parameters,
                metrics=record.metrics,
                seed=record.seed,
            )
            program.transformation.bind(source, program.task)
            program.mapping.bind(source, program.task)
            program.restore(tensors, str(path))
        except UserError:
            raise
        except (
            LookupError,
            AttributeError,
            ArithmeticError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:  # whatever a part makes of arguments that were tampered with
            raise UserError(f"program {path} is damaged: its record does not describe a task and "
                            f"parts that fit ({type(error).__name__})") from error  # fmt: skip
        for part in (source, program.transformation, program.mapping):
            part.to(device)
        return program

    def restore(self, tensors: dict[str, Tensor], where: str) -> None:
        """Put tensors back in place.

        Raises:
            UserError: if a tensor is missing, unknown, or of another shape.
        """
        own = self.tensors()
        for name in sorted(own.keys() | tensors.keys()):
            if name not in tensors or name not in own:
                side = "missing" if name not in tensors else "unknown"
                raise UserError(f"program {where}: tensor {name!r} is {side}; it is not whole")
            if own[name].shape != tensors[name].shape:
                raise UserError(
                    f"program {where}: tensor {name!r} has shape {tuple(tensors[name].shape)}; "
                    f"{tuple(own[name].shape)} is wanted"
                )
        with torch.no_grad():
            for name, tensor in tensors.items():
                own[name].copy_(tensor)
