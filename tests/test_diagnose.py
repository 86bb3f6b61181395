"""The controls, on tasks whose answer is known."""

import dataclasses
from typing import Any

import pytest
import torch
from tiny import black_box, image_source, image_task, series_task, speech_source

from reprogram.diagnose import controls, linear_probe, majority, random_source, scratch
from reprogram.recipes import ar, series_to_features
from reprogram.tasks.base import Split, Task, specification
from reprogram.types import UserError

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


def test_majority_answers_the_commonest_class_of_train() -> None:
    assert majority(unbalanced()) == pytest.approx(0.3)


def test_the_probe_separates_what_is_separable() -> None:
    task = series_task(train=40)
    assert linear_probe(series_to_features(speech_source(), task), task) > 0.8
    images = image_task(train=40)
    assert linear_probe(ar(image_source(), images), images) > 0.8


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
