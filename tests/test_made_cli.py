"""Programs that make images and run automata, as a user runs them."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reprogram import load_source, load_task, recipes

GROW = "grow:gecko?rows=8"
FEW = ("--epochs", 1, "--set", "batch_size=4", "--set", "pool=8")
FEW_STEPS = ("--set", "steps=[2,4]", "--set", "evaluation=6")


def photographs(folder: Path) -> Path:
    """Two classes of 28 x 28 grey images: left or right half bright."""
    draw = np.random.default_rng(0)
    for label in ("left", "right"):
        (folder / label).mkdir(parents=True)
        for i in range(24):
            pixels = draw.integers(0, 60, (28, 28))
            pixels[:, slice(0, 14) if label == "left" else slice(14, 28)] += 180
            Image.fromarray(pixels.astype(np.uint8)).save(folder / label / f"{i}.png")
    return folder


@pytest.fixture
def grown(reprogram, tmp_path) -> Path:
    out = tmp_path / "grown"
    done = reprogram("fit", "--recipe", "nca-global", "--source", "zoo:growing-ca", "--task", GROW,
                     "--out", out, *FEW, *FEW_STEPS)  # fmt: skip
    assert done.status == 0, done.err
    assert "test mse" in done.out and "validation mse" in done.err
    words = shlex.split(done.out.splitlines()[-1].partition("try next")[2])
    assert reprogram(*words[words.index("predict") :]).status == 0
    assert out.with_name("grown.png").is_file()
    metrics = json.loads((out / "metrics.json").read_text())
    assert sum(file.stat().st_size for file in out.glob("program.*")) < 60_000
    assert metrics["source_unchanged"] and metrics["parameters"] == 136
    return out


def test_an_automaton_stands_beside_itself_alone(reprogram, tmp_path) -> None:
    done = reprogram("fit", "--recipe", "nca-global", "--source", "zoo:growing-ca", "--task", GROW,
                     "--out", tmp_path / "run", *FEW, *FEW_STEPS, "--controls",
                     "--json")  # fmt: skip
    assert done.status == 0, done.err
    assert set(json.loads(done.out)["controls"]) == {"untouched", "random_source"}
    reprogram("report", tmp_path / "run")
    assert "untouched" in (tmp_path / "run" / "report.html").read_text()


def test_a_picture_is_grown_filmed_and_reported(reprogram, grown, tmp_path) -> None:
    for name, start in (("a.png", b"\x89PNG"), ("a.gif", b"GIF89a")):
        done = reprogram("predict", grown, "seed", "grown", "--count", 2, "--out", tmp_path / name)
        assert done.status == 0, done.err
        assert (tmp_path / name).read_bytes().startswith(start)
    with Image.open(tmp_path / "a.gif") as film:
        assert film.n_frames == 7  # six steps and the start
    done = reprogram("predict", grown, "all", "--count", 3, "--out", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as made:
        assert made["images"].shape == (6, 4, 32, 32)
        assert list(made["labels"]) == ["seed"] * 3 + ["grown"] * 3
    done = reprogram("report", grown)
    assert done.status == 0, done.err
    page = (grown / "report.html").read_text()
    assert "data:image/gif;base64," in page


REFUSED = [
    (("all",), "--out is missing; the program makes images: give a .png, .gif or .npz"),
    (("all", "--out", "x.csv"), "--out x.csv is no picture"),
    (("seed", "sprout", "--out", "x.png"), "there is no class 'sprout'; the program knows"),
    (("seed", "--count", 0, "--out", "x.png"), "--count is 0; give 1 or more"),
]


def test_what_cannot_be_drawn_is_one_line(reprogram, grown, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for words, message in REFUSED:
        assert message in reprogram("predict", grown, *words).error
    assert not Path("x.png").exists()


def test_classes_are_drawn_by_a_generator(reprogram, tmp_path) -> None:
    out, task = tmp_path / "run", f"draw:{photographs(tmp_path / 'photos')}?judge=none"
    done = reprogram("fit", "--recipe", "inrep", "--source", "zoo:digits-gan", "--task", task,
                     "--out", out, "--epochs", 2, "--set", "batch_size=20", "--set", "width=8",
                     "--json")  # fmt: skip
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert told["source_unchanged"] and told["program_bytes"] < 1_000_000
    for seed, name in ((0, "a.npz"), (0, "b.npz"), (1, "c.npz")):
        done = reprogram("predict", out, "left", "right", "--count", 3, "--seed", seed,
                         "--out", tmp_path / name)  # fmt: skip
        assert done.status == 0, done.err
    a, b, c = (np.load(tmp_path / name)["images"] for name in ("a.npz", "b.npz", "c.npz"))
    assert a.shape == (6, 1, 28, 28) and np.array_equal(a, b) and not np.array_equal(a, c)
    done = reprogram("evaluate", out)
    assert done.status == 0 and "mse" in done.out
    done = reprogram("report", out)
    assert "Made by the program" in (out / "report.html").read_text()


def test_digits_are_led_to_say_another_class(reprogram, tmp_path) -> None:
    out, photos = tmp_path / "run", photographs(tmp_path / "photos")
    done = reprogram("fit", "--recipe", "nca-inject", "--source", "zoo:mnist-ca", "--task",
                     f"cells:{photos}?say=left", "--out", out, *FEW, "--set", "steps=2",
                     "--json")  # fmt: skip
    assert done.status == 0, done.err
    assert {"accuracy", "sample_accuracy", "agreement"} < set(json.loads(done.out)["test"])
    done = reprogram("predict", out, photos)
    assert done.status == 0, done.err
    rows = list(csv.DictReader(done.out.splitlines()))
    assert len(rows) == 48
    shares = [float(rows[0][f"probability_{name}"]) for name in ("left", "right")]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    done = reprogram("predict", out, photos / "left" / "0.png", "--out", tmp_path / "a.gif")
    assert done.status == 0, done.err
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF89a")


@pytest.mark.parametrize(
    ("recipe", "source", "task", "message"),
    [
        ("inrep", "zoo:digits-gan", "draw:digits?judge=none", "asks for images of shape (1, 8, 8)"),
        ("inrep", "zoo:images", "draw:digits?judge=none", "has no door 'noise'"),
        ("nca-global", "zoo:mnist-ca", GROW, "starts automaton zoo:mnist-ca from 'image'"),
        ("nca-inject", "zoo:images", "cells:digits", "take zoo:mnist-ca or zoo:growing-ca"),
        ("nca-inject", "zoo:mnist-ca?steps=0", "cells:digits", "steps"),
    ],
)
def test_what_does_not_fit_is_one_line(reprogram, tmp_path, recipe, source, task, message) -> None:
    done = reprogram("fit", "--recipe", recipe, "--source", source, "--task", task,
                     "--out", tmp_path / "run", "--epochs", 1)  # fmt: skip
    assert message in done.error
    assert not (tmp_path / "run").exists()


def test_quick_shortens_a_run_and_gives_way(reprogram, tmp_path) -> None:
    out = tmp_path / "run"
    done = reprogram("fit", "--recipe", "ar", "--source", "zoo:images", "--task", "digits?limit=40",
                     "--out", out, "--quick", "--epochs", 1, "--json")  # fmt: skip
    assert done.status == 0, done.err
    record = json.loads((out / "run.json").read_text())
    assert record["numbers"]["epochs"] == 1


def test_a_quick_run_takes_fewer_rows_and_resumes(reprogram, tmp_path) -> None:
    order = ("fit", "--recipe", "nca-inject", "--source", "zoo:mnist-ca", "--task",
             "cells:digits?say=8&limit=16", "--out", tmp_path / "run", "--quick", *FEW,
             "--set", "steps=2", "--set", "evaluation=2")  # fmt: skip
    for resume in ((), ("--resume",)):
        done = reprogram(*order, *resume)
        assert done.status == 0, done.err
        record = json.loads((tmp_path / "run" / "run.json").read_text())
        assert record["task"] == "cells:digits?say=8&limit=16&validation=32&test=256"


@pytest.fixture
def bound(tmp_path):
    """Saves the program of a recipe as it starts."""

    def save(recipe: str, source: str, task: str) -> Path:
        own = load_task(task)
        training = recipes.find(recipe)(load_source(source), own)
        training.bind(own.spec)
        return training.program(own.spec).save(tmp_path / recipe)

    return save


def test_no_table_of_pictures_and_no_pictures_of_a_table(reprogram, bound, tmp_path) -> None:
    photos = photographs(tmp_path / "photos")
    drawing = bound("inrep", "zoo:digits-gan", f"draw:{photos}")
    cells = bound("nca-inject", "zoo:mnist-ca?steps=2", f"cells:{photos}?say=left")
    classes = bound("ar", "zoo:images", str(photos))
    table = "is of predictions, and this writes pictures; leave it out"
    many = "--count 2 is of images, and"
    refused = {
        (drawing, "all", "--out", "a.png", "--format", "csv"): f"--format csv {table}",
        (cells, photos, "--out", "a.gif", "--format", "jsonl"): f"--format jsonl {table}",
        (cells, photos, "--out", "a.gif", "--count", 2): f"{many} cells:{photos}?say=left asks for",
        (cells, photos, "--out", "a.csv", "--count", 2): "asks for cells; leave it out",
        (classes, photos, "--out", "a.csv", "--count", 2): "asks for classes; leave it out",
    }
    for (run, files, _, name, *words), message in refused.items():
        done = reprogram("predict", run, files, "--out", tmp_path / name, *words)
        assert message in done.error
        assert not (tmp_path / name).exists()
    assert not list(tmp_path.glob("*.tmp*"))


def test_what_is_drawn_while_predicting_repeats(reprogram, bound, tmp_path) -> None:
    photos = photographs(tmp_path / "photos")
    run = bound("nca-inject", "zoo:mnist-ca?steps=4", f"cells:{photos}")
    left = photos / "left"
    told = [reprogram("predict", run, left, "--seed", seed).out for seed in (0, 0, 1)]
    assert told[0] == told[1] != told[2]
    assert told[0] == reprogram("predict", run, left).out
    for seed, name in ((3, "a.gif"), (3, "b.gif"), (4, "c.gif")):
        first = left / "0.png"
        done = reprogram("predict", run, first, "--seed", seed, "--out", tmp_path / name)
        assert done.status == 0, done.err
    a, b, c = ((tmp_path / name).read_bytes() for name in ("a.gif", "b.gif", "c.gif"))
    assert a == b != c
