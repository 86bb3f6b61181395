"""The visual recipes as a user runs them: on folders of odd images, and with mistakes."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch import nn

import reprogram
from reprogram.sources import TorchSource
from reprogram.types import InputSpec, OutputSpec, UserError

VISUAL = ["ar", "trainable-io", "vp", "ilm-vp", "blm", "blm+", "smm", "autovp", "bar", "blackvip",
          "bvp", "discrete-vp"]  # fmt: skip


def draw(folder: Path, classes: int = 2, each: int = 12, size: int = 12) -> Path:
    """Grey squares whose brightness is the class, in class folders."""
    generator = np.random.default_rng(0)
    for kind in range(classes):
        place = folder / f"kind-{kind}"
        place.mkdir(parents=True)
        for i in range(each):
            level = 40 + 180 * kind // max(classes - 1, 1)
            noise = generator.integers(-30, 30, (size, size))
            pixels = np.clip(level + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / f"{i}.png")
    return folder


def fit(recipe: str, task: object, out: Path, *words: object) -> tuple[object, ...]:
    words = ("--epochs", 2, "--batch-size", 8, *words)
    source = ("--source", "zoo:tiny-images")
    return ("fit", "--recipe", recipe, *source, "--task", task, "--out", out, *words)


@pytest.mark.parametrize("recipe", VISUAL)
def test_fit_evaluate_predict_report(reprogram, recipe, tmp_path):
    task, out = draw(tmp_path / "images"), tmp_path / "run"
    fitted = reprogram(*fit(recipe, task, out, "--json"))
    assert fitted.status == 0, fitted.err
    metrics = json.loads(fitted.out.splitlines()[-1])
    assert metrics["source_unchanged"] is True
    assert reprogram("evaluate", out).status == 0
    predicted = reprogram("predict", out, task / "kind-0" / "0.png")
    assert predicted.status == 0 and "kind-" in predicted.out
    assert reprogram("report", out).status == 0
    assert "<img" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    "mapping",
    ["Fixed(labels='random')", "Frequency", "Iterative(fresh_pass=True)", "Bayesian(top=0.15)",
     "Discriminant(every=2)", "Linear(start='discriminant')", "ManyToOne(size=1)", "Semantic"],
)  # fmt: skip
def test_any_mapping_by_its_name_and_arguments(reprogram, mapping, tmp_path):
    task, out = draw(tmp_path / "images"), tmp_path / "run"
    words = fit("ilm-vp", task, out, "--set", f"mapping={mapping}")
    done = reprogram(*words)
    assert done.status == 0, done.err
    described = json.loads((out / "program.json").read_text())
    assert described["mapping"]["name"] == mapping.partition("(")[0]


@pytest.mark.parametrize(
    ("optimizer", "evaluations"),
    [("SPSA(directions=3, c=0.05)", 6), ("CMAES(population=5, diagonal=True)", 5), ("Backprop", 1)],
)
def test_any_optimizer_by_its_name_and_arguments(reprogram, optimizer, evaluations, tmp_path):
    task, out = draw(tmp_path / "images"), tmp_path / "run"
    numbers = ("--set", f"optimizer={optimizer}", "--set", "mapping=Fixed")
    done = reprogram(*fit("ar", task, out, *numbers, "--json"))
    assert done.status == 0, done.err
    spent = json.loads(done.out.splitlines()[-1])["queries"]
    training = evaluations * 2 * 19  # in two epochs, of 19 images: 5 of 24 are the test split
    assert spent - training in (5, 5 + 19)  # a white box is measured on train besides
    assert json.loads((out / "program.json").read_text())["parameters"]["optimizer"] == optimizer


def test_a_palette_a_16_bit_and_a_cmyk_file_are_read(reprogram, tmp_path):
    task, out = draw(tmp_path / "images"), tmp_path / "run"
    first = Image.open(task / "kind-0" / "0.png")
    first.convert("P").save(task / "kind-0" / "0.gif")
    wide = np.asarray(Image.open(task / "kind-0" / "1.png")).astype(np.uint16) * 257
    Image.fromarray(wide).save(task / "kind-0" / "1-wide.png")
    first.convert("CMYK").save(task / "kind-0" / "0.tif")
    assert reprogram(*fit("ar", task, out)).status == 0


# --- mistakes ------------------------------------------------------------------------------------


@pytest.fixture
def refused(reprogram, tmp_path):
    """One line on stderr, exit status 2, no run."""

    def run(recipe: str, *words: object, classes: int = 2) -> str:
        task = draw(tmp_path / "images", classes=classes)
        error = reprogram(*fit(recipe, task, tmp_path / "run", *words)).error
        assert not (tmp_path / "run").exists()
        return error

    return run


@pytest.mark.parametrize(
    ("recipe", "setting", "said"),
    [
        ("ar", "size=40", ("40x40", f"{tiny.SIDE}x{tiny.SIDE}", "size")),
        ("ilm-vp", f"size={tiny.SIDE}", (f"{tiny.SIDE}x{tiny.SIDE}", "no frame", "size")),
        ("vp", f"width={tiny.SIDE // 2}", ("'width'", tiny.SIDE // 2, f"{tiny.SIDE}x{tiny.SIDE}")),
        ("smm", "patch=5", ("'patch'", 5)),
        ("smm", "layers=7", ("'layers'", 7, "5 or 6")),
        ("autovp", "scale=9", ("'scale'", 9)),
        ("trainable-io", "strength=2", ("'strength'", 2)),
        ("ar", "mapping=Frequency(size=99)", (99, "size 1 to")),
        ("ar", "optimizer=SPAS", ("unknown optimizer 'SPAS'", "'SPSA'")),
        ("ar", "optimizer=SPSA(directions=0)", ("'directions'", 0, "1 or more")),
        ("ar", "optimizer=SPSA(optimizer='Adam')", ("'optimizer' of SPSA is a function",)),
        ("ar", "queries=0", ("'queries'", 0)),
        ("ar", "mapping=Frequenzy", ("unknown mapping 'Frequenzy'", "Frequency")),
        ("ar", "mapping=Frequency(sise=2)", ("unknown argument of Frequency 'sise'", "size")),
        ("ar", "mapping=Frequency(size=", ("cannot be read", "Name(size=2)")),
        ("ar", "mapping=Semantic(encoder='hf:./none')", ("hf:./none", "could not be loaded")),
    ],
)
def test_a_setting_that_does_not_fit(refused, recipe, setting, said):
    error = refused(recipe, "--set", setting)
    assert all(str(word) in error for word in said), error


@pytest.mark.parametrize("mapping", ["Fixed", "Frequency", "Iterative", "ManyToOne", "Semantic"])
def test_a_source_with_fewer_classes_than_the_task(refused, mapping):
    classes = tiny.CLASSES + 1
    error = refused("ar", "--set", f"mapping={mapping}", classes=classes)
    assert f"{classes} target classes" in error and f"{tiny.CLASSES} source classes" in error
    assert "linear mapping" in error


def test_a_task_of_the_other_kind(refused, reprogram, tmp_path):
    error = refused("fraud")
    assert "'table'" in error and "'image'" in error


def test_a_source_that_was_not_told_its_bounds(tmp_path):
    """An image network whose input has no bounds: the frame would not know black from white."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4))
    source = TorchSource(
        network, OutputSpec("classes", (4,)), input=InputSpec("image", (3, 16, 16))
    )
    task = tiny.image_task()
    with pytest.raises(UserError, match=r"needs finite bounds.*normalisation") as caught:
        reprogram.fit(reprogram.recipes.ar(source, task, size=8), task, tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
    assert torch.isfinite(source(torch.zeros(1, 3, 16, 16))).all()
