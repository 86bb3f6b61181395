"""The controls, on tasks whose answer is known."""

import dataclasses
from typing import Any

import pytest
import torch
from tiny import black_box, image_source, image_task, series_task, speech_source

from reprogram import diagnose
from reprogram.diagnose import boosting, controls, logistic
from reprogram.recipes import ar, series_to_features
from reprogram.tasks import make_task
from reprogram.tasks.base import Split, Task, specification
from reprogram.types import UserError


def _accuracy(control):
    return lambda *arguments, **named: control(*arguments, **named)["accuracy"]


majority, linear_probe, random_source, scratch = map(
    _accuracy,
    (diagnose.majority, diagnose.linear_probe, diagnose.random_source, diagnose.scratch),
)


QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 10}


def unbalanced() -> Task:
    """Train: class 2 six times of ten; test: class 2 three times of ten, two rows unlabelled."""

    def split(targets: list[int], weights: list[float]) -> Split:
        rows = tuple(map(str, range(len(targets))))
        inputs = torch.randn(len(targets), 1, 6, generator=torch.Generator().manual_seed(0))
        return Split(inputs, torch.tensor(targets), torch.tensor(weights), rows)

    train = split([2, 2, 2, 0, 1, 2, 0, 2, 2, 1], [1.0] * 10)
    test = split([2, 2, 2, 0, 0, 0, 0, 1, 1, 1, 2, 2], [1.0] * 10 + [0.0] * 2)
    return Task(specification("skewed", "series", ("a", "b", "c"), train), train, None, test)


def table_task(rows: int = 300, *, seed: int = 0, rare: bool = False) -> Task:
    """Two columns that tell two classes apart by their product, at odd scales, and a constant."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator)
    x[:, 2] = 0
    positive = x[:, 0] * x[:, 1] > (0.8 if rare else 0)
    x = x * torch.tensor([1000.0, 0.01, 1.0]) + torch.tensor([5e4, -3.0, 7.0])
    return make_task("product", "table", (x, positive.int().tolist()), seed=seed)


def test_majority_answers_the_commonest_class_of_train() -> None:
    assert majority(unbalanced()) == pytest.approx(0.3)


def test_the_probe_separates_what_is_separable() -> None:
    task = series_task(train=40)
    assert linear_probe(series_to_features(speech_source(), task), task) > 0.8
    images = image_task(train=40)
    assert linear_probe(ar(image_source(), images), images) > 0.8


def test_the_readout_reads_the_outputs_alone() -> None:
    task = image_task(train=40)
    source = image_source()
    source.features = lambda x: torch.eye(3)[torch.arange(len(x)) % 3]  # pyright: ignore
    blind = diagnose.linear_probe(ar(source, task), task, features=False)
    source.features = lambda x: None  # pyright: ignore
    assert diagnose.linear_probe(ar(source, task), task) == blind


def test_the_probe_chooses_without_validation() -> None:
    task = series_task(train=40, validation=0)
    assert linear_probe(series_to_features(speech_source(), task), task) > 0.8


def test_the_probe_does_not_read_the_labels_of_test_or_unlabelled_rows() -> None:
    task = series_task(train=40)
    assert task.test is not None
    flipped = dataclasses.replace(task.test, targets=(task.test.targets + 1) % 3)
    right = linear_probe(series_to_features(speech_source(), task), task)
    wrong = linear_probe(
        series_to_features(speech_source(), task), dataclasses.replace(task, test=flipped)
    )
    assert wrong <= 1 - right + 1e-9
    weights = torch.ones(40)
    weights[20:] = 0
    nonsense = torch.cat([task.train.targets[:20], torch.zeros(20).long()])
    few = dataclasses.replace(
        task, train=dataclasses.replace(task.train, weights=weights, targets=nonsense)
    )
    assert linear_probe(series_to_features(speech_source(), few), few) == pytest.approx(
        linear_probe(series_to_features(speech_source(), task), dataclasses.replace(
            task, train=task.train.subset(range(20))))
    )  # fmt: skip


def test_scratch_learns_what_is_separable() -> None:
    assert scratch(series_task(train=40), epochs=20) > 0.8
    assert scratch(image_task(train=40), epochs=20) > 0.8


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 1), (1, 1, 2), (2, 3, 1), (4,)])
def test_scratch_takes_any_size(shape: tuple[int, ...]) -> None:
    """With a batch of one at the end: 33 rows, in batches of 32."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(73, *shape, generator=generator)
    labels = (x.flatten(1).mean(1) > 0.5).int().tolist()
    kind = "table" if len(shape) == 1 else "image"
    task = make_task("small", kind, (x[:33], labels[:33]), test=(x[33:], labels[33:]))
    assert len(task.train) == 33
    assert 0 <= scratch(task, epochs=2) <= 1


def test_a_table_from_scratch() -> None:
    """Standardised: the product of two columns at odd scales is learned."""
    assert scratch(table_task(), epochs=60) > 0.85


def test_the_classical_controls() -> None:
    """A product is beyond a linear rule and within trees; both learn what is linear."""
    task = table_task()
    assert boosting(task)["accuracy"] > 0.85 > 0.7 > logistic(task)["accuracy"]
    for task in (series_task(train=40), image_task(train=40)):
        assert logistic(task)["accuracy"] > 0.8
    folded = series_task(train=40, validation=0)
    assert logistic(folded, seed=1) == logistic(folded, seed=1)
    assert logistic(folded)["accuracy"] > 0.8


def test_classical_controls_do_not_read_unlabelled_rows() -> None:
    task = series_task(train=40)
    assert task.test is not None
    weights = torch.ones(len(task.test))
    weights[::2] = 0
    nonsense = dataclasses.replace(task.test, weights=weights, targets=torch.where(
        weights > 0, task.test.targets, 0))  # fmt: skip
    half = dataclasses.replace(task, test=nonsense)
    kept = dataclasses.replace(task, test=task.test.subset(weights.nonzero()[:, 0]))
    assert logistic(half) == logistic(kept)


def test_classical_controls_of_one_shot() -> None:
    shapes = series_task(train=3, validation=0)
    assert set(logistic(shapes)) >= {"accuracy", "roc_auc"}
    assert 0 <= linear_probe(series_to_features(speech_source(), shapes), shapes) <= 1


def test_every_control_has_every_metric() -> None:
    task = table_task(rare=True)
    binary = {"accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "pr_auc", "f1"}
    share = float((task.test.targets == 1).double().mean()) if task.test else 0
    always = diagnose.majority(task)
    assert set(always) == binary and always["f1"] == 0
    assert always["roc_auc"] == 0.5 and always["pr_auc"] == pytest.approx(share)
    assert always["accuracy"] == pytest.approx(1 - share)
    assert set(boosting(task)) == set(logistic(task)) == binary
    assert set(diagnose.scratch(task, epochs=1)) == binary | {"loss"}
    shapes = series_task()
    found = diagnose.linear_probe(series_to_features(speech_source(), shapes), shapes)
    assert set(found) == binary - {"pr_auc", "f1"}
    found = diagnose.random_source(series_to_features, speech_source(), shapes, **QUICK)


def test_scratch_is_a_function_of_the_seed() -> None:
    state = torch.get_rng_state()
    first = scratch(series_task(), epochs=2, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert scratch(series_task(), epochs=2, seed=3) == first


@pytest.mark.parametrize(
    ("recipe", "source", "task"),
    [(series_to_features, speech_source, series_task), (ar, image_source, image_task)],
)
def test_the_random_source_leaves_the_source_alone(recipe, source, task) -> None:
    original = source()
    before = original.fingerprint()
    state = {name: t.clone() for name, t in original.state_dict().items()}
    value = random_source(recipe, original, task(), **QUICK, seed=1)
    assert 0 <= value <= 1
    assert original.fingerprint() == before
    assert all(torch.equal(t, state[name]) for name, t in original.state_dict().items())
    assert random_source(recipe, original, task(), **QUICK, seed=1) == value


def test_the_random_source_runs_the_recipe_on_permuted_weights() -> None:
    original, met = speech_source(), []

    def noting(source: Any, task: Any, **numbers: Any) -> Any:
        met.append(source.fingerprint())
        return series_to_features(source, task, **numbers)

    random_source(noting, original, series_task(), **QUICK)
    assert met[0] == original.fingerprint()
    assert met[1] not in (met[0], original.door("features").fingerprint())


def test_controls_are_told_and_named() -> None:
    told: list[str] = []
    values = controls(series_to_features, speech_source(), series_task(), tell=told.append, **QUICK)
    assert list(values) == told == ["majority", "linear_probe", "scratch", "random_source"]
    assert all(0 <= value <= 1 for value in values.values())
    opaque = black_box(speech_source().door("features"))
    assert "random_source" not in controls(series_to_features, opaque, series_task(), **QUICK)


def test_without_test_rows_there_is_nothing_to_tell() -> None:
    task = dataclasses.replace(series_task(), test=None)
    with pytest.raises(UserError, match="no test split"):
        majority(task)
    with pytest.raises(UserError, match="no test split"):
        linear_probe(series_to_features(speech_source(), task), task)
    with pytest.raises(UserError, match="no test split"):
        scratch(task, epochs=1)
    with pytest.raises(UserError, match="no test split"):
        random_source(series_to_features, speech_source(), task, **QUICK)
    for classical in (logistic, boosting):
        with pytest.raises(UserError, match="no test split"):
            classical(task)
