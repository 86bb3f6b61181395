"""Mistakes as a user makes them: one line on stderr, exit status 2, nothing written."""

import errno
import json
import os
from pathlib import Path

import commands
import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from reprogram.sources import zoo

FIT = ("fit", "--recipe", "v2s", "--source", "zoo:tiny", "--epochs", 1)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def refused(reprogram, tmp_path):
    """Run a command that must be refused and leave everything as it was; its error."""

    def run(*words: object) -> str:
        before, folders = contents(tmp_path), sorted(tmp_path.rglob("*"))
        error = reprogram(*words).error
        assert contents(tmp_path) == before and sorted(tmp_path.rglob("*")) == folders
        return error

    return run


@pytest.fixture
def series(tmp_path):
    return commands.write_series(tmp_path / "series.csv")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def run(reprogram, series, out):
    """A finished run."""
    assert reprogram(*FIT, "--task", series, "--out", out).status == 0
    return out


def says(error: str, *words: object) -> None:
    assert [w for w in map(str, words) if w not in error] == [], error


# ---- the user's files


def test_missing_path(refused, tmp_path, out):
    path = tmp_path / "nowhere" / "data.csv"
    says(refused(*FIT, "--task", path, "--out", out), path)


def test_empty_folder(refused, tmp_path, out):
    (tmp_path / "images").mkdir()
    says(refused(*FIT, "--task", tmp_path / "images", "--out", out), tmp_path / "images")


def test_empty_file(refused, series, out):
    series.write_text("")
    says(refused(*FIT, "--task", series, "--out", out), series, "empty")


def test_file_of_no_known_kind(refused, tmp_path, out):
    path = tmp_path / "data.xlsx"
    path.write_bytes(b"PK")
    says(refused(*FIT, "--task", path, "--out", out), path, ".csv")


def test_class_with_one_sample(refused, series, out):
    lines = series.read_text().splitlines()
    series.write_text("\n".join([*lines, lines[-1].replace("class-1", "lonely")]))
    says(refused(*FIT, "--task", series, "--out", out), "'lonely'", "at least 2")


def test_one_class(refused, series, out):
    series.write_text(series.read_text().replace("class-1", "class-0"))
    says(refused(*FIT, "--task", series, "--out", out), "class-0", "two classes")


def test_label_column_that_is_not_there(refused, series, out):
    told = refused(*FIT, "--task", series, "--out", out, "--label", "kind")
    says(told, "'kind'", "'label'", "--label")


@pytest.mark.parametrize("cell", ["nan", "inf", "", "x"])
def test_value_that_is_no_number(refused, series, out, cell):
    lines = series.read_text().splitlines()
    cells = lines[5].split(",")
    cells[4] = cell
    lines[5] = ",".join(cells)
    series.write_text("\n".join(lines))
    says(refused(*FIT, "--task", series, "--out", out), "series.csv:6", "'t2'", cell)


def test_ragged_rows(refused, series, out):
    lines = series.read_text().splitlines()
    lines[7] += ",1.0"
    series.write_text("\n".join(lines))
    says(refused(*FIT, "--task", series, "--out", out), "series.csv:8", 15, 14)


def test_ragged_series_without_header(refused, tmp_path, out):
    path = tmp_path / "series.tsv"
    path.write_text("1\t0.1\t0.2\t0.3\n2\t0.2\t0.3\n1\t0.0\t0.2\t0.1\n2\t0.5\t0.1\t0.3\n")
    says(refused(*FIT, "--task", path, "--out", out), "series.tsv:2", 2, 3)


def test_series_longer_than_the_window(refused, tmp_path, out):
    path = commands.write_series(tmp_path / "long.csv", length=tiny.WINDOW + 1)
    says(refused(*FIT, "--task", path, "--out", out), tiny.WINDOW + 1, tiny.WINDOW, "window")


def test_image_that_is_none(refused, tmp_path, out):
    for kind, colour in (("dark", 0), ("light", 255)):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(4):
            pixels = np.full((8, 8), colour + (i if colour == 0 else -i), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / kind / f"{i}.png")
    fake = tmp_path / "images" / "dark" / "2.png"
    fake.write_text("not an image")
    words = ("fit", "--recipe", "ar", "--source", "zoo:tiny-images", "--set", "size=8")
    says(refused(*words, "--task", tmp_path / "images", "--out", out), fake)


def test_pickle_in_an_archive(refused, tmp_path, out):
    path = tmp_path / "data.npz"
    np.savez(path, X=np.array([{}, {}], dtype=object), y=np.array([0, 1]))
    says(refused(*FIT, "--task", path, "--out", out), path)


@pytest.mark.parametrize(
    ("mapping", "classes"), [("ManyToOne", tiny.CLASSES + 1), ("Fixed", tiny.CLASSES + 1)]
)
def test_more_target_classes_than_the_mapping_can_serve(refused, tmp_path, out, mapping, classes):
    path = commands.write_series(tmp_path / "many.csv", rows=8 * classes, classes=classes)
    told = refused(*FIT, "--task", path, "--out", out, "--set", f"mapping={mapping}")
    says(told, classes, tiny.CLASSES, "linear mapping")


def test_a_task_of_another_kind(refused, series, out):
    words = ("fit", "--recipe", "ar", "--source", "zoo:tiny-images", "--task", series)
    says(refused(*words, "--out", out), "image", "series")
    words = ("fit", "--recipe", "v2s", "--source", "zoo:tiny-images", "--task", series)
    says(refused(*words, "--out", out), "waveform", "image")


# ---- names and numbers


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (("--recipe", "v2"), "'v2s'"),
        (("--source", "zoo:tinny"), "'tiny'"),
        (("--source", "zo:tiny"), "'zoo'"),
        (("--source", "tiny"), "zoo:tiny"),
        (("--source", "zoo:tiny#log-mal"), "log-mel"),
        (("--task", "digit"), "'digits'"),
        (("--set", "segmants=2"), "'segments'"),
        (("--set", "epoch=2"), "'epochs'"),
        (("--set", "mapping=ManytoOne"), "'ManyToOne'"),
        (("--set", "epochs=ten"), "--set epochs=ten: a whole number is wanted"),
        (("--set", "dropout=much"), "a number is wanted"),
        (("--set", "dropout=1.5"), "1.5"),
        (("--set", "segments=0"), "0"),
        (("--set", "segments=9"), "at most 5"),
        (("--set", "segments"), "name=value"),
        (("--set", "segments=1", "--set", "segments=2"), "twice"),
        (("--set", "optimizer=Adam"), "unknown optimizer 'Adam'"),
        (("--set", "class_weights=1,2,3"), "3 values for 2 classes"),
        (("--set", "seed=-1"), "-1"),
        (("--epochs", "0"), "'epochs' is 0"),
        (("--batch-size", "-2"), "'batch_size' is -2"),
        (("--learning-rate", "-1"), "'learning_rate' is -1"),
        (("--learning-rate", "nan"), "'learning_rate' is nan"),
        (("--device", "warp"), "'device' is 'warp'"),
        (("--label-smoothing", "2"), "--label-smoothing"),
    ],
)
def test_name_or_number(refused, series, out, words, near):
    given = {"--recipe": "v2s", "--source": "zoo:tiny", "--task": str(series)}
    if words[0] in given:
        given[words[0]] = words[1]
        words = ()
    flat = [word for pair in given.items() for word in pair]
    says(refused("fit", *flat, "--out", out, *words), near)


# ---- the run directory


def test_folder_that_is_taken(refused, series, run, tmp_path):
    says(refused(*FIT, "--task", series, "--out", run), run, "already holds a program")
    says(refused(*FIT, "--task", series, "--out", tmp_path), tmp_path, "not an empty folder")
    says(refused(*FIT, "--task", series, "--out", series), series)


def test_resume_of_nothing(refused, out, tmp_path):
    says(refused("fit", "--resume", "--out", out), out, "--recipe", "--task")
    says(refused("fit", "--resume"), "--out")


def test_resume_of_another_run(refused, run):
    told = refused("fit", "--resume", "--out", run, "--recipe", "v2s-fm")
    says(told, "'v2s-fm'", "'v2s'")


def test_damaged_record_of_a_run(refused, run):
    (run / "run.json").write_text("{")
    says(refused("fit", "--resume", "--out", run), "run.json")


# ---- programs


def test_program_that_is_not_there(refused, series, tmp_path):
    says(refused("predict", tmp_path / "nowhere", series), tmp_path / "nowhere")
    says(refused("evaluate", tmp_path), tmp_path, "program.json")


def truncate(folder: Path) -> None:
    file = folder / "program.safetensors"
    file.write_bytes(file.read_bytes()[:-9])


def scramble(folder: Path) -> None:
    (folder / "program.safetensors").write_bytes(os.urandom(300))


def empty(folder: Path) -> None:
    (folder / "program.safetensors").write_bytes(b"")


def remove(folder: Path) -> None:
    (folder / "program.safetensors").unlink()


def foreign(folder: Path) -> None:
    save_file({"weight": torch.zeros(3)}, folder / "program.safetensors")


def reshape(folder: Path) -> None:
    tensors = load_file(folder / "program.safetensors")
    tensors["transformation.pattern"] = torch.zeros(3)
    save_file(tensors, folder / "program.safetensors")


def record(**changes: object):
    def change(folder: Path) -> None:
        file = folder / "program.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def cut_record(folder: Path) -> None:
    file = folder / "program.json"
    file.write_text(file.read_text()[:200])


DANGEROUS = {"name": "os.system", "arguments": {}}


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (truncate, "program.safetensors"), (scramble, "program.safetensors"),
        (empty, "program.safetensors"), (remove, "program.safetensors"), (foreign, "mapping.index"),
        (reshape, "transformation.pattern"), (cut_record, "not JSON"),
        (record(format="other"), "not a program"), (record(format_version=99), "99"),
        (record(transformation=DANGEROUS), "os.system"), (record(surplus=1), "surplus"),
        (record(mapping={"name": "Linear", "arguments": {"hidden": 3}}), "hidden"),
        (record(mapping=[]), "mapping"), (record(task={}), "damaged"),
        (record(source={}), "source"),
    ],
)  # fmt: skip
def test_damaged_or_foreign_program(refused, run, series, damage, word):
    damage(run)
    says(refused("predict", run, series), word)


@pytest.mark.parametrize("strange", [tiny.speech_source, tiny.image_source])
def test_changed_source(refused, run, series, monkeypatch, strange):
    def changed():
        source = strange(seed=3)
        source.uri = "zoo:tiny"
        return source

    monkeypatch.setitem(zoo.SOURCES, "tiny", (changed, ""))
    says(refused("predict", run, series), run)


def test_source_that_is_gone(refused, run, series, monkeypatch):
    monkeypatch.delitem(zoo.SOURCES, "tiny")
    says(refused("predict", run, series), "'tiny'")


def test_samples_that_do_not_fit(refused, run, tmp_path):
    longer = commands.write_series(tmp_path / "longer.csv", length=20)
    says(refused("predict", run, longer), 20, 12)
    unknown = commands.write_series(tmp_path / "unknown.csv", classes=3)
    says(refused("predict", run, unknown), "'class-2'", "class-0")


# ---- the disk


@pytest.mark.parametrize("moment", ["program", "checkpoint", "predictions"])
def test_disk_that_fills(reprogram, series, tmp_path, monkeypatch, moment):
    out, run = tmp_path / "other", tmp_path / "run"
    if moment == "predictions":
        assert reprogram(*FIT, "--task", series, "--out", run).status == 0
    before = contents(tmp_path)
    sync = os.fsync

    def full(handle: int) -> None:
        name = os.readlink(f"/proc/self/fd/{handle}") if os.path.isdir("/proc/self/fd") else ""
        wanted = {"program": ".safetensors", "checkpoint": "state.pt", "predictions": ".csv"}
        if wanted[moment] in name or not name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    if moment == "predictions":
        done = reprogram("predict", run, series, "--out", tmp_path / "predictions.csv")
        assert contents(tmp_path) == before
    else:
        done = reprogram(*FIT, "--task", series, "--out", out, "--checkpoint-seconds", 0)
        assert not (out / "program.json").exists()
        assert not [path for path in tmp_path.rglob(".*")]  # no leftovers
    says(done.error, "the disk is full", tmp_path)


def test_run_is_whole_after_the_disk_has_room_again(reprogram, series, out, monkeypatch):
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    words = (*FIT, "--task", series, "--checkpoint-seconds", 0)
    with monkeypatch.context() as patch:
        sync, count = os.fsync, iter(range(10**6))
        patch.setattr(os, "fsync", lambda handle: (full if next(count) > 6 else sync)(handle))
        says(reprogram(*words, "--out", out).error, "the disk is full")
    assert reprogram("fit", "--resume", "--out", out).status == 0
    straight = out.with_name("straight")
    assert reprogram(*words, "--out", straight).status == 0
    one, other = (load_file(folder / "program.safetensors") for folder in (out, straight))
    assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


# ---- a real process


def test_a_real_process_is_refused(tmp_path):
    words = ("fit", "--recipe", "v2", "--source", "zoo:images", "--task", "digits", "--out", "run")
    process = commands.start(*words, cwd=tmp_path)
    out, err = process.communicate(timeout=120)
    assert "'v2s'" in commands.Result(process.returncode, out, err).error
    assert err.count("\n") == 1 and not list(tmp_path.iterdir())
