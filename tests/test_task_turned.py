"""Tasks whose targets are images or cells."""

from dataclasses import replace

import pytest
import torch
from commands import install
from PIL import Image
from tiny import Counted
from tiny_generators import drawing_spec, reading_source
from typechecker import unchecked

import reprogram
from reprogram.evaluation import Prepared, judge_of, measure
from reprogram.mappings import Pixels
from reprogram.model import Reprogrammed
from reprogram.predictions import Predictions, wanted
from reprogram.sources import TorchSource, zoo
from reprogram.tasks.metrics import metrics
from reprogram.transformations import Transformation
from reprogram.types import InputSpec, OutputSpec, TaskSpec, UserError


def test_draw_turns_a_task_around() -> None:
    plain, turned = reprogram.load_task("digits"), reprogram.load_task("draw:digits")
    assert torch.equal(turned.test.inputs, plain.test.targets.float())
    assert torch.equal(turned.test.weights.argmax(1), plain.test.targets)
    assert torch.equal(turned.test.targets, plain.test.inputs)
    x, y, w = turned.test.batch(torch.arange(3))
    assert x.shape == (3,) and y.shape == (3, 1, 8, 8) and w.sum() == 3
    assert y.max() <= 1
    assert turned.spec.counts == tuple(torch.bincount(plain.train.targets).tolist())


def test_draw_keeps_a_share_of_each_class_and_leaves_test_alone() -> None:
    whole, some = (reprogram.load_task(f"draw:digits?share={s}") for s in (1.0, 0.1))
    assert len(some.test) == len(whole.test)
    assert all(
        abs(a - b / 10) <= 1 for a, b in zip(some.spec.counts, whole.spec.counts, strict=True)
    )
    assert set(some.train.rows) < set(whole.train.rows)


def test_draw_thins_rare_classes_and_mislabels() -> None:
    whole = reprogram.load_task("draw:digits")
    rare = reprogram.load_task("draw:digits?rare=2&rare_share=0.1").spec.counts
    assert rare[0] == round(whole.spec.counts[0] / 10)
    assert rare[2:] == whole.spec.counts[2:]
    noisy = reprogram.load_task("draw:digits?noise=0.4").train
    moved = (noisy.inputs - whole.train.inputs) % 10
    assert set(moved.tolist()) == {0.0, 1.0}
    assert abs(float(moved.mean()) - 0.4) < 0.05
    assert torch.equal(noisy.inputs, noisy.weights.argmax(1).float())


def test_folds_and_limits_of_a_turned_task_are_stratified() -> None:
    task = reprogram.load_task("draw:digits?limit=100")
    assert len(task.train) == 100
    assert max(task.spec.counts) - min(task.spec.counts) <= 2
    fold = task.folds(5, 0)[0]
    assert len(fold.validation) + len(fold.train) == 100


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("draw:splice", "holds text samples"),
        ("draw:digits?share=0.0", "'share' is 0.0; give a number in (0, 1]"),
        ("draw:digits?noise=1.0", "'noise' is 1.0; give a number in [0, 1)"),
        ("draw:digits?rare=11", "'rare' is 11; task 'digits' has 10 classes"),
        ("cells:digits?say=twelve", "'say' is 'twelve'; the classes of task 'digits' are 0, 1"),
        ("grow:nowhere.png", "there is no picture 'nowhere.png'"),
        ("grow:nowhere.png?size=0", "'size' is 0; give 1 or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_turned_is_refused(uri: str, message: str) -> None:
    if "splice" in uri and not _here(uri):
        pytest.skip("raw data not here")
    with pytest.raises(UserError) as caught:
        reprogram.load_task(uri)
    assert message in str(caught.value)


def _here(uri: str) -> bool:
    try:
        reprogram.load_task(uri.partition(":")[2].partition("?")[0])
    except UserError:
        return False
    return True


def test_cells_are_grey(tmp_path) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for i in range(8):
            Image.new("RGB", (6, 6), (20 * i, 200, 0)).save(tmp_path / label / f"{i}.png")
    with pytest.raises(UserError, match="takes grey images by class"):
        reprogram.load_task(f"cells:{tmp_path}")


def test_cells_say_the_class_of_their_image() -> None:
    plain, own = reprogram.load_task("digits"), reprogram.load_task("cells:digits")
    assert torch.equal(own.train.targets[:, 3, 3], plain.train.targets)
    living = plain.train.batch(torch.arange(len(plain.train)))[0][:, 0] > 0.1
    assert torch.equal(own.train.weights > 0, living)
    assert own.spec.target == "cells"


def test_an_image_without_a_living_cell_is_named(tmp_path) -> None:
    for label, value in (("a", 255), ("b", 0)):
        (tmp_path / label).mkdir()
        for i in range(8):
            image = Image.new("L", (6, 6))
            image.putpixel((i % 6, i // 6), value)
            image.save(tmp_path / label / f"{i}.png")
    with pytest.raises(UserError, match="no cell lives"):
        reprogram.load_task(f"cells:{tmp_path}")


def test_metrics_of_cells_by_hand() -> None:
    said = torch.tensor([[[0, 0, 1]], [[1, 1, 0]]])  # two images of three cells
    weights = torch.tensor([[[1.0, 1, 1]], [[1, 1, 0]]])
    scores = torch.nn.functional.one_hot(said, 2).float()
    targets = torch.tensor([[[0, 0, 0]], [[1, 1, 1]]])
    found = metrics(scores, targets, weights)
    assert found == {"accuracy": 0.8, "sample_accuracy": 1.0, "agreement": 0.5}


def test_the_majority_of_living_cells_is_the_answer() -> None:
    scores = torch.zeros(1, 2, 3, 4)  # dead cells say the same of all classes
    scores[0, 0, 0, 2] = scores[0, 0, 1, 2] = scores[0, 1, 1, 3] = 1.0
    told = Predictions(tuple("abcd"), scores.log_softmax(-1), "cells")
    assert told.labels == ["c"]
    assert torch.allclose(told.probabilities, torch.tensor([[0, 0, 2 / 3, 1 / 3]]))


def test_a_picture_is_padded_and_premultiplied(tmp_path) -> None:
    image = Image.new("RGBA", (4, 2), (255, 0, 0, 128))
    image.save(tmp_path / "red.png")
    task = reprogram.load_task(f"grow:{tmp_path / 'red.png'}?size=4&pad=3&rows=16")
    assert task.spec.shape == (4, 8, 10)
    _, target, weight = task.train.batch(torch.arange(2))
    assert torch.allclose(target[0, :, 3, 3], torch.tensor([128 / 255, 0, 0, 128 / 255]))
    assert target[0, :, :3].abs().sum() == 0
    assert weight.tolist() == [[1, 0], [0, 1]]
    Image.new("RGBA", (4, 2)).save(tmp_path / "empty.png")
    with pytest.raises(UserError, match="no opaque pixel"):
        reprogram.load_task(f"grow:{tmp_path / 'empty.png'}")


class _Noisy(Transformation):
    """Images of one value: the class, and noise."""

    random = True

    def forward(self, prepared: torch.Tensor) -> torch.Tensor:
        value = prepared[:, None, None, None] / 10 + 0.01 * torch.randn(len(prepared), 1, 8, 8)
        return value.clamp(0, 1)


def test_images_without_a_judge_are_told_by_their_error_and_repeat() -> None:
    task = reprogram.load_task("draw:digits?judge=none")
    shape = (1, 8, 8)
    source = TorchSource(
        torch.nn.Identity(), OutputSpec("image", shape), input=InputSpec("image", shape)
    )
    mapping = Pixels()
    mapping.bind(source, task.spec)
    model = Reprogrammed(source, _Noisy(), mapping)
    prepared = Prepared(model.transformation, task.test, "cpu")
    before = torch.get_rng_state()
    one, two = (measure(model, prepared, 64) for _ in range(2))
    assert one == two and one["loss"] == one["mse"] > 0
    assert torch.equal(before, torch.get_rng_state())
    assert TaskSpec.from_json(task.spec.json()) == task.spec


# Judges


@pytest.fixture
def halves(tmp_path) -> str:
    """A task of two classes that are no digits, as large as the digits of the judge."""
    for label in ("left", "right"):
        (tmp_path / label).mkdir()
        for i in range(8):
            image = Image.new("L", (28, 28), 9 * i)
            image.paste(200, (0, 0, 14, 28) if label == "left" else (14, 0, 28, 28))
            image.save(tmp_path / label / f"{i}.png")
    return f"draw:{tmp_path}"


def test_only_digits_have_a_judge_of_themselves(halves: str) -> None:
    assert reprogram.load_task(halves).spec.judge == ""
    assert reprogram.load_task("draw:digits").spec.judge == "zoo:digits"
    assert reprogram.load_task("draw:digits?judge=none").spec.judge == ""
    assert reprogram.load_task("draw:digits?judge=zoo:mnist-lenet").spec.judge == "zoo:mnist-lenet"
    assert judge_of(reprogram.load_task(halves).spec) is None
    assert judge_of(reprogram.load_task("draw:digits").spec) is not None


JUDGES = {
    "zoo:digits": r"tells 10 classes \(0, 1, 2, ...\); draw:.* asks for 2 classes \(left, right\)",
    "zoo:growing-ca": "tells no classes but state; draw:.* asks for 2",
    "zoo:tiny-images": r"tells 7 classes \(a, b, c, ...\); .* 2 classes \(left, right\)",
}


@pytest.mark.parametrize("judge", JUDGES)
def test_a_judge_of_other_classes_is_refused_before_training(
    judge: str, halves: str, monkeypatch
) -> None:
    install(monkeypatch)
    task = reprogram.load_task(f"{halves}?judge={judge}")
    source = reprogram.load_source("zoo:digits-gan")
    training = reprogram.recipes.inrep(source, task, epochs=1, width=4)
    calls = Counted(training.source)
    with pytest.raises(UserError, match=f"'judge' is {judge}, which {JUDGES[judge]}") as caught:
        reprogram.fit(training, task)
    assert "\n" not in str(caught.value) and calls.rows == []


def test_a_judge_without_names_tells_as_many_classes(monkeypatch) -> None:
    spec = replace(drawing_spec(), judge="zoo:judge")
    for names, fits in (((), True), (spec.classes, True), (spec.classes[::-1], False)):
        monkeypatch.setitem(zoo.SOURCES, "judge", (lambda names=names: reading_source(names), ""))
        if fits:
            assert judge_of(spec) is not None
        else:
            with pytest.raises(UserError, match=r"\(standing, lying\); drawing asks for 2"):
                judge_of(spec)


def test_a_judge_without_features_is_refused(monkeypatch) -> None:
    blind = reading_source()
    blind.shows_features = False
    monkeypatch.setitem(zoo.SOURCES, "judge", (lambda: blind, ""))
    spec = replace(drawing_spec(), judge="zoo:judge")
    with pytest.raises(UserError, match="'judge' is zoo:judge, which shows no features; take a"):
        judge_of(spec)


def test_a_class_by_half_is_no_class() -> None:
    assert wanted([2, "a", 0], ("a", "b", "c")).tolist() == [2.0, 0.0, 0.0]
    for given in (2.5, 3, -1, "d"):
        message = f"there is no class {given!r}; the program knows a, b, c"
        with pytest.raises(UserError, match=message), unchecked():
            wanted([given], ("a", "b", "c"))  # pyright: ignore
