"""Programs on disk: whole or not at all, verified, and believed in nothing."""

import copy
import dataclasses
import errno
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import black_box, image_source, image_task, series_task, speech_source
from torch import Tensor
from typechecker import unchecked

from reprogram.mappings import Fixed, Linear, ManyToOne
from reprogram.program import Program
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.transformations import (
    Compose,
    Frame,
    ModulateSeries,
    Overlay,
    PadSeries,
    Resize,
    SeriesToFeatures,
)
from reprogram.types import Scores, UserError


def _program(source: Source, task: Task, transformation, mapping) -> Program:
    """With parameters that are not those of its seed."""
    for part in (transformation, mapping):
        part.bind(source, task.spec)
        for parameter in part.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape)
    return Program(
        source, transformation, mapping, task.spec, recipe="toy", parameters={"size": 3},
        metrics={"test": {"accuracy": 0.5}}, seed=7,
    )  # fmt: skip


def series_program(mapping=None, source: Source | None = None) -> Program:
    transformation = PadSeries(segments=2, dropout=0.3)
    return _program(source or speech_source(), series_task(), transformation, mapping or Linear())


PROGRAMS: dict[str, Callable[[], Program]] = {
    "pad, linear": series_program,
    "pad, many to one": lambda: series_program(ManyToOne(seed=9)),
    "tone, fixed": lambda: _program(
        speech_source(), series_task(), ModulateSeries(base=5.0), Fixed(labels="random", seed=3)
    ),
    "features": lambda: _program(
        speech_source().door("features"), series_task(), SeriesToFeatures(hidden=3), Linear()
    ),
    "frame": lambda: _program(
        image_source(), image_task(), Compose([Resize(12), Frame(squash="sigmoid")]), ManyToOne()
    ),
    "overlay": lambda: _program(
        image_source(), image_task(), Compose([Resize(20), Overlay(strength=0.3)]), Fixed()
    ),
    "black box": lambda: series_program(source=black_box(speech_source(), Scores.PROBABILITIES)),
}


def samples(program: Program, rows: int = 5) -> Tensor:
    shape = (rows, *program.task.input.shape)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def edit(path: Path, **changes: Any) -> None:
    """Change fields of ``program.json``; a dotted name goes into an object."""
    file = path / "program.json"
    record = json.loads(file.read_text())
    for name, value in changes.items():
        *outer, last = name.split("__")
        place = record
        for key in outer:
            place = place[key]
        place[last] = value
    file.write_text(json.dumps(record))


# --- saved and loaded -------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_loaded_program_says_the_same(name: str, tmp_path: Path) -> None:
    program = PROGRAMS[name]()
    program.save(tmp_path / "program")
    again = Program.load(tmp_path / "program", program.source)
    x = samples(program)
    assert torch.equal(again.predict(x).scores, program.predict(x).scores)
    assert torch.equal(again.model(x), program.model(x))
    assert again.task == program.task
    for field in ("recipe", "parameters", "metrics", "seed", "trained", "size"):
        assert getattr(again, field) == getattr(program, field)
    first, second = program.describe(), again.describe()
    assert first.pop("date")[:10] == second.pop("date")[:10]
    assert first == second


@pytest.mark.parametrize("name", PROGRAMS)
def test_only_what_was_trained_or_drawn_is_saved(name: str, tmp_path: Path) -> None:
    program = PROGRAMS[name]()
    program.save(tmp_path / "program")
    assert {p.name for p in (tmp_path / "program").iterdir()} == {
        "program.json", "program.safetensors",
    }  # fmt: skip
    file = tmp_path / "program/program.safetensors"
    assert file.stat().st_size == program.size
    stored = load_file(file)
    drawn = (
        0 if isinstance(program.mapping, Linear) else program.mapping.get_buffer("index").numel()
    )
    assert sum(t.numel() for t in stored.values()) == program.trained + drawn
    assert not any("source" in name for name in stored)


def test_the_source_is_found_by_its_uri(tmp_path: Path) -> None:
    import reprogram

    source, task = reprogram.load_source("zoo:images"), image_task()
    program = _program(source, task, Compose([Resize(16), Frame()]), Fixed())
    program.save(tmp_path / "program")
    x = samples(program)
    again = Program.load(tmp_path / "program")
    assert torch.equal(again.predict(x).scores, program.predict(x).scores)


def test_a_source_without_a_uri_must_be_given(tmp_path: Path) -> None:
    series_program().save(tmp_path / "program")
    with pytest.raises(UserError, match=r"names no source; give one: load\(path, source=...\)"):
        Program.load(tmp_path / "program")


def test_saving_replaces_a_program(tmp_path: Path) -> None:
    series_program().save(tmp_path / "program", beside={"note.txt": "old"})
    new = series_program()
    new.save(tmp_path / "program", beside={"other.txt": "new"})
    assert torch.equal(
        Program.load(tmp_path / "program", new.source).predict(samples(new)).scores,
        new.predict(samples(new)).scores,
    )
    assert (tmp_path / "program/other.txt").read_text() == "new"


def test_saving_replaces_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="holds other files, which saving would replace"):
        series_program().save(tmp_path)
    with pytest.raises(UserError, match="a file of that name stands there"):
        series_program().save(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("after", ["program.safetensors", "program.json", "metrics.json"])
def test_a_full_disk_leaves_what_stood_there(after: str, tmp_path: Path, monkeypatch) -> None:
    old = series_program()
    old.save(tmp_path / "program")
    write_bytes, write_text = Path.write_bytes, Path.write_text

    def full(self: Path, data, write, *args: Any, **kwargs: Any):
        if self.name == after:
            write(self, data[: len(data) // 2], *args, **kwargs)
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return write(self, data, *args, **kwargs)

    monkeypatch.setattr(Path, "write_bytes", lambda self, data: full(self, data, write_bytes))
    monkeypatch.setattr(Path, "write_text", lambda self, data: full(self, data, write_text))
    for name in ("program", "new"):
        with pytest.raises(UserError, match="the disk is full; free some space") as caught:
            series_program().save(tmp_path / name, beside={"metrics.json": "{}"})
        assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["program"]
    again = Program.load(tmp_path / "program", old.source)
    assert torch.equal(again.predict(samples(old)).scores, old.predict(samples(old)).scores)


# --- damaged and foreign ----------------------------------------------------------------------


def refused(path: Path, said: str, source: Source | None = None) -> None:
    with pytest.raises(UserError, match=said) as caught:
        Program.load(path, source or speech_source())
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no such program: .* is not a folder")
    refused(tmp_path, "program.json is missing")
    (tmp_path / "checkpoint").mkdir()
    refused(tmp_path, "unfinished run: continue it with --resume")
    series_program().save(tmp_path / "program")
    (tmp_path / "program/program.safetensors").unlink()
    refused(tmp_path / "program", "program.safetensors is missing")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is damaged: it is not JSON"),
        ('{"format": "reprogram.pro', "is damaged: it is not JSON"),
        ("\x80\x04\x95", "is damaged: it is not JSON"),
        ("[" * 100_000, "is damaged: it is not JSON"),
        ("[1, 2]", "is not a program of this library"),
        ('{"format": "onnx"}', "is not a program of this library"),
        ('{"format": "reprogram.program", "format_version": 99, "library_version": "9.1"}',
         r"format version 99; this library reads 1: install the version that wrote it \(9.1\)"),
        ('{"format": "reprogram.program", "format_version": 1}', "is damaged at 'library_version'"),
    ],
)  # fmt: skip
def test_a_record_that_is_none_is_named(text: str, said: str, tmp_path: Path) -> None:
    series_program().save(tmp_path / "program")
    (tmp_path / "program/program.json").write_text(text)
    refused(tmp_path / "program", said)


@pytest.mark.parametrize(
    "changes",
    [
        {"surprise": 1},
        {"seed": "many"},
        {"source": None},
        {"source__surprise": 1},
        {"source__probe": [["x"]]},
        {"source__probe": [[1.0], [2.0, 3.0]], "source__fingerprint": "0"},
        {"source__probe": [[1.0]], "source__fingerprint": "0"},
        {"task": {}},
        {"task__input": {}},
        {"task__input__shape": 3},
        {"task__input__shape": ["x"]},
        {"task__input__surprise": 1},
        {"task__classes": None},
        {"task__input__shape": [1]},
        {"transformation": {}},
        {"transformation__arguments": None},
        {"transformation__arguments": {"segments": "two"}},
        {"transformation__arguments": {"surprise": 2}},
        {"transformation__arguments": {"segments": 99}},
        {"transformation": {"name": "Compose", "arguments": {"parts": [1, 2]}}},
        {"transformation": {"name": "Compose", "arguments": {"parts": 3}}},
        {"transformation": {"name": "Transformation", "arguments": {}}},
        {"mapping": {"name": "Fixed", "arguments": {"labels": ["a", "b", "c"]}}},
        {"mapping": {"name": "Fixed", "arguments": {"labels": [[0], [1], [2]]}}},
        {"mapping": {"name": "Mapping", "arguments": {}}},
        {"mapping__arguments__seed": "x"},
        {"mapping__arguments__seed": 1e400},
    ],
)
def test_a_record_that_was_changed_is_one_line(changes: dict[str, Any], tmp_path: Path) -> None:
    series_program().save(tmp_path / "program")
    edit(tmp_path / "program", **changes)
    with unchecked(), pytest.raises(UserError) as caught:
        Program.load(tmp_path / "program", speech_source())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("room", ["transformation", "mapping"])
@pytest.mark.parametrize("name", ["os.system", "torch.nn.Linear", "antigravity.fly", "Programm"])
def test_a_record_imports_nothing(room: str, name: str, tmp_path: Path) -> None:
    series_program().save(tmp_path / "program")
    edit(tmp_path / "program", **{f"{room}__name": name})
    before = set(sys.modules)
    with pytest.raises(UserError, match=f"unknown {room} '{name}'"):
        Program.load(tmp_path / "program", speech_source())
    assert set(sys.modules) == before


@pytest.mark.parametrize("damage", ["empty", "truncated", "header", "noise", "torch", "pickle"])
def test_tensors_that_are_damaged_are_one_line(damage: str, tmp_path: Path) -> None:
    series_program().save(tmp_path / "program")
    file = tmp_path / "program/program.safetensors"
    whole = file.read_bytes()
    if damage == "torch":
        torch.save({"transformation.pattern": torch.zeros(64)}, file)
    else:
        file.write_bytes({
            "empty": b"",
            "truncated": whole[:-10],
            "header": whole[:20],
            "noise": bytes(range(256)) * 4,
            "pickle": b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix",
        }[damage])  # fmt: skip
    refused(tmp_path / "program", "is damaged or no safetensors file")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("mapping.bias"), "tensor 'mapping.bias' is missing; it is not whole"),
        (lambda t: t.update(extra=torch.zeros(1)), "tensor 'extra' is unknown; it is not whole"),
        (lambda t: t.update({"mapping.bias": torch.zeros(4)}), r"'mapping.bias' has shape \(4,\);"),
    ],
)
def test_tensors_of_another_program_are_named(change, said: str, tmp_path: Path) -> None:
    series_program().save(tmp_path / "program")
    file = tmp_path / "program/program.safetensors"
    stored = load_file(file)
    change(stored)
    save_file(stored, file)
    refused(tmp_path / "program", said)


# --- a changed source -------------------------------------------------------------------------


def _with(source: Source, change: Callable[[Any], Any]) -> Source:
    source = copy.deepcopy(source)
    change(source)
    return source


def _rate(source: Any) -> None:
    source.input = dataclasses.replace(source.input, rate=8.0)


def _names(source: Any) -> None:
    source.output = dataclasses.replace(source.output, names=tuple("tuvwxyz"))


def _weight(source: Any) -> None:
    source.chain[1].conv.weight.data += 1.0


def _last_bit(source: Any) -> None:
    source.chain[1].conv.weight.data += 1e-7


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_rate, "its input specification differs: rate was 64.0, is 8.0"),
        (_names, "its output specification differs: names was .* is .*"),
        (_weight, r"its weights differ, and its logits on the stored probe by \d"),
        (_last_bit, r"its weights differ \(its logits on the stored probe by no more than"),
    ],
)
def test_a_changed_source_is_an_error_that_says_in_what(change, said: str, tmp_path: Path) -> None:
    program = series_program()
    program.save(tmp_path / "program")
    changed = _with(speech_source(), change)
    refused(tmp_path / "program", f"the source is not the one it was fitted to: {said}", changed)
    with pytest.warns(UserWarning, match=said):
        again = Program.load(tmp_path / "program", changed, strict=False)
    again.predict(samples(again))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Program.load(tmp_path / "program", speech_source())


def test_another_door_is_another_source(tmp_path: Path) -> None:
    PROGRAMS["features"]().save(tmp_path / "program")
    refused(tmp_path / "program", "its input specification differs: ")


def test_other_scores_are_another_source(tmp_path: Path) -> None:
    program = PROGRAMS["black box"]()
    program.save(tmp_path / "program")
    assert json.loads((tmp_path / "program/program.json").read_text())["source"]["probe"] is None
    refused(tmp_path / "program", "its scores are of another kind",
            black_box(speech_source(), Scores.LABEL))  # fmt: skip


# --- predictions ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_predictions_are_named_probabilities_in_order(name: str) -> None:
    program = PROGRAMS[name]()
    x = samples(program, 9)
    told = program.predict(x, batch_size=4)
    assert told.classes == ("x", "y", "z")
    assert told.probabilities.shape == (9, 3)
    torch.testing.assert_close(told.probabilities.sum(1), torch.ones(9).to(told.scores))
    assert told.labels == [told.classes[i] for i in told.probabilities.argmax(1).tolist()]
    assert set(told.labels) <= {"x", "y", "z"}
    torch.testing.assert_close(program.predict(x).scores, told.scores, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        program.predict(x.flip(0)).scores.flip(0), told.scores, atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_empty_batch_has_no_predictions(name: str) -> None:
    told = PROGRAMS[name]().predict(samples(PROGRAMS[name](), 0))
    assert told.scores.shape == (0, 3)
    assert told.labels == []


def test_a_black_box_is_not_called_for_nothing() -> None:
    source = black_box(speech_source())
    program = series_program(source=source)
    source.function = lambda x: pytest.fail("called")  # pyright: ignore
    program.predict(samples(program, 0))


def test_predict_takes_arrays_and_pixels_and_changes_nothing() -> None:
    program = PROGRAMS["frame"]()
    pixels = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    told = program.predict(pixels).scores
    torch.testing.assert_close(program.predict(pixels / 255).scores, told)
    torch.testing.assert_close(program.predict((pixels / 255).double().numpy()).scores, told)
    kept = pixels.clone()
    assert torch.equal(pixels, kept)
    series = series_program()
    whole = np.ones((2, 1, 12), dtype=np.int64)
    torch.testing.assert_close(
        series.predict(whole).scores, series.predict(torch.ones(2, 1, 12)).scores
    )


@pytest.mark.parametrize("shape", [(3, 12), (3, 1, 13), (3, 2, 12), (12,), ()])
def test_samples_of_another_shape_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"samples have shape .*; .* fitted to \(1, 12\)"):
        series_program().predict(torch.zeros(shape))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_named(value: float) -> None:
    x = torch.zeros(3, 1, 12)
    x[1, 0, 4] = value
    with pytest.raises(UserError, match="NaN or an infinite value; remove or fill it"):
        series_program().predict(x)


def test_predict_leaves_no_graph_and_dropout_off() -> None:
    program = series_program()
    program.transformation.train()
    x = samples(program)
    assert torch.equal(program.predict(x).scores, program.predict(x).scores)
    assert not program.predict(x).scores.requires_grad


def test_describing_costs_no_query_of_a_black_box() -> None:
    source = black_box(speech_source())
    program = series_program(source=source)
    source.function = lambda x: pytest.fail("called")  # pyright: ignore
    program.describe()


def test_a_program_without_dependencies_of_the_recipes(tmp_path: Path) -> None:
    """Loading does not need scikit-learn, nor anything that only training wants."""
    import reprogram

    source = reprogram.load_source("zoo:images")
    _program(source, image_task(), Compose([Resize(16), Frame()]), Fixed()).save(tmp_path / "p")
    code = ("import sys, torch; from reprogram.program import Program; "
            f"p = Program.load({str(tmp_path / 'p')!r}); p.predict(torch.zeros(1, 1, 8, 8)); "
            "print({'sklearn', 'transformers', 'cma', 'PIL'} & set(sys.modules))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
