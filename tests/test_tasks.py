"""Laws of target tasks: splits, folds, duplicates, classes, metrics."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from reprogram import tasks
from reprogram.tasks import Samples, Split, Task, make_task
from reprogram.tasks.base import cut
from reprogram.tasks.build import class_name
from reprogram.types import TaskSpec, UserError


def series(count, classes=3, seed=0, length=5):
    """Distinct series with unequal classes."""
    generator = torch.Generator().manual_seed(seed)
    labels = [str(min(i % (classes + 2), classes - 1)) for i in range(count)]
    return torch.randn(count, length, generator=generator), labels


def contents(*splits):
    return [set(split.contents()) for split in splits if split is not None]


def rows(*splits):
    return [row for split in splits if split is not None for row in split.rows]


@pytest.mark.parametrize("count", [60, 187, 300])
@pytest.mark.parametrize("seed", [0, 1])
def test_splits_cover_the_data_once(count, seed):
    inputs, labels = series(count)
    task = make_task("t", "series", (inputs, labels), seed=seed)
    found = rows(task.train, task.validation, task.test)
    assert sorted(found) == sorted(f"train[{i}]" for i in range(count))
    assert len(task.test) == round(0.2 * count)
    again = make_task("t", "series", (inputs, labels), seed=seed)
    assert rows(again.train, again.validation, again.test) == found
    other = make_task("t", "series", (inputs, labels), seed=seed + 1)
    assert set(other.test.rows) != set(task.test.rows)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_a_cut_is_stratified(share):
    inputs, labels = series(203)
    whole = make_task("t", "series", (inputs, labels), test=series(9, seed=9)).train
    kept, gone = cut(whole, share, 0)
    assert len(kept) + len(gone) == len(whole)
    for label, count in Counter(whole.targets.tolist()).items():
        assert abs(int((gone.targets == label).sum()) - share * count) < 1
    assert list(gone.rows) == sorted(gone.rows, key=whole.rows.index)


def test_values_follow_their_rows():
    inputs, labels = series(100)
    task = make_task("t", "series", (inputs, labels))
    for split in (task.train, task.test):
        for i, row in enumerate(split.rows):
            origin = int(row[6:-1])
            x, y, w = split.batch(torch.tensor([i]))
            assert torch.equal(x[0, 0], inputs[origin]) and w.item() == 1
            assert task.spec.classes[y.item()] == labels[origin]


@pytest.mark.parametrize(("count", "expected"), [(150, 30), (149, 30), (147, None)])
def test_validation_of_thirty_rows_or_none(count, expected):
    """20 % of the training rows, unless that is fewer than 30."""
    inputs, labels = series(count)
    task = make_task("t", "series", (inputs, labels), test=series(9, seed=9))
    assert (task.validation and len(task.validation)) == expected
    assert len(task.train) == count - (expected or 0)
    assert any("folds" in note for note in task.notes) == (expected is None)


def test_published_splits_are_kept():
    parts = [series(count, seed=count) for count in (40, 10, 20)]
    task = make_task("t", "series", parts[0], validation=parts[1], test=parts[2])
    for split, (inputs, _) in zip((task.train, task.validation, task.test), parts, strict=True):
        assert torch.equal(split.inputs[:, 0], inputs)


@pytest.mark.parametrize("seed", range(5))
def test_duplicates_stand_on_one_side(seed):
    inputs, labels = series(60)
    repeated = torch.cat([inputs, inputs, inputs[:30]])
    task = make_task("t", "series", (repeated, labels * 2 + labels[:30]), seed=seed)
    train, test = contents(task.train, task.test)
    assert not train & test and len(train | test) == 60
    for fold in task.folds(4, seed):
        train, part = contents(fold.train, fold.validation)
        assert not train & part


def test_training_rows_that_leak_are_dropped():
    inputs, labels = series(60)
    test = (torch.cat([inputs[:7], -inputs[:3]]), labels[:7] + labels[:3])
    validation = (torch.cat([inputs[5:10], -inputs[2:9]]), labels[5:10] + labels[2:9])
    task = make_task("t", "series", (inputs, labels), validation=validation, test=test)
    assert len(task.test) == 10  # as published
    assert len(task.validation) == 12 - 3
    assert task.train.rows == tuple(f"train[{i}]" for i in range(10, 60))
    assert any("10 rows dropped" in note for note in task.notes)
    train, check, held = contents(task.train, task.validation, task.test)
    assert not train & check and not train & held and not check & held


@pytest.mark.parametrize("k", [2, 3, 7])
def test_folds_cover_train_once(k):
    inputs, labels = series(80)
    task = make_task("t", "series", (inputs, labels))
    folds = task.folds(k, seed=3)
    assert sorted(rows(*(f.validation for f in folds))) == sorted(task.train.rows)
    sizes = [len(fold.validation) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    for fold in folds:
        assert fold.test is None and fold.spec.classes == task.spec.classes
        assert sorted(rows(fold.train, fold.validation)) == sorted(task.train.rows)
        assert fold.spec.counts == tuple(torch.bincount(fold.train.targets).tolist())
    for label in range(3):
        counts = [int((fold.validation.targets == label).sum()) for fold in folds]
        assert max(counts) - min(counts) <= 1
    assert rows(*(f.train for f in task.folds(k, 3))) == rows(*(f.train for f in folds))
    assert rows(*(f.train for f in task.folds(k, 4))) != rows(*(f.train for f in folds))


@pytest.mark.parametrize("k", [0, 1, 65])
def test_impossible_folds(k):
    task = make_task("t", "series", series(80))
    with pytest.raises(UserError, match=rf"argument 'k' is {k}; .*64 different"):
        task.folds(k, 0)


@pytest.mark.parametrize("n", [3, 10, 33])
def test_limit_is_stratified(n):
    task = make_task("t", "series", series(200))
    small = task.limit(n, seed=1)
    assert len(small.train) == n == sum(small.spec.counts) and min(small.spec.counts) >= 1
    assert set(small.train.rows) <= set(task.train.rows)
    assert small.test is task.test and small.validation is task.validation
    for few, all_ in zip(small.spec.counts, task.spec.counts, strict=True):
        assert abs(few - n * all_ / len(task.train)) <= 1
    assert task.limit(n, seed=1).train.rows == small.train.rows
    assert task.limit(10_000) is task


def test_classes_in_the_order_given():
    inputs, labels = series(60)
    task = make_task("t", "series", (inputs, labels), classes=("2", "0", "1"))
    plain = make_task("t", "series", (inputs, labels))
    assert task.spec.classes == ("2", "0", "1")
    for named in (task, plain):
        for i, row in enumerate(named.test.rows):
            target = named.spec.classes[named.test.targets[i]]
            assert target == labels[int(row[6:-1])]
    with pytest.raises(UserError, match="label '2', which no training row has; known: 0, 1"):
        make_task("t", "series", (inputs, labels), classes=("0", "1"))
    with pytest.raises(UserError, match="class '3' has no training sample"):
        make_task("t", "series", (inputs, labels), classes=("0", "1", "2", "3"))


def test_one_shot():
    """A class may have one training sample where nothing is cut."""
    samples = (torch.eye(3), ["a", "b", "c"])
    task = make_task("t", "series", samples, test=(-torch.eye(3), "abc"), validation_share=0)
    assert len(task.train) == 3 and task.validation is None
    with pytest.raises(UserError, match=r"'a' has one training sample.*at least 2 are needed"):
        make_task("t", "series", samples, test=(-torch.eye(3), "abc"))


def test_limit_below_the_classes():
    with pytest.raises(UserError, match=r"'limit' is 2; .* has 3 classes"):
        make_task("t", "series", series(100)).limit(2)


def test_nothing_to_cut():
    """Two rows, each alone in its class once duplicates count as one."""
    task = make_task("t", "series", (torch.eye(2).repeat(2, 1), ["a", "b"] * 2))
    assert len(task.train) == 4 and task.test is None and task.validation is None


def test_specification_of_the_training_rows():
    inputs, labels = series(100)
    task = make_task("t", "series", (inputs * 3 + 5, labels))
    train = task.train.inputs
    spec = task.spec
    assert spec.input.kind == "series" and spec.input.shape == (1, 5)
    assert math.isclose(spec.input.mean, train.mean(), rel_tol=1e-5)
    assert math.isclose(spec.input.std, train.std(correction=0), rel_tol=1e-5)
    assert TaskSpec.from_json(spec.json()) == spec
    constant = make_task("t", "series", (torch.ones(100, 4), labels), test=series(9, length=4))
    assert constant.spec.input.std == 1


def test_images_are_fractions():
    pixels = torch.randint(0, 256, (50, 3, 4, 6), dtype=torch.uint8)
    task = make_task("t", "image", (pixels, ["a", "b"] * 25))
    x, _, _ = task.train.batch(torch.tensor([0]))
    assert x.dtype == torch.float32 and x.max() <= 1
    assert (task.spec.input.lower, task.spec.input.upper) == (0, 1)
    assert task.spec.input.shape == (3, 4, 6)
    with pytest.raises(UserError, match=r"pixels lie in \[0, 255\]"):
        make_task("t", "image", (pixels.float(), ["a", "b"] * 25))


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "9", "1"], ("1", "9", "10")),
        ([1.0, -1.0], ("-1", "1")),
        (["-1", "1", "1.0"], ("-1", "1")),
        (np.array([2, 0, 1]), ("0", "1", "2")),
        (torch.tensor([1, 0]), ("0", "1")),
        ([0.5, 0.25], ("0.25", "0.5")),
        ([" b", "a ", "10"], ("10", "a", "b")),
        ([True, False], ("False", "True")),
        (np.array([b"x", b"y"]), ("x", "y")),
    ],
)
def test_class_names(labels, classes):
    count = len(labels) * 20
    values = labels * 20 if isinstance(labels, list) else labels.repeat(20)
    task = make_task("t", "series", (torch.randn(count, 4), values))
    assert task.spec.classes == classes


def test_missing_labels_have_no_weight():
    inputs, labels = series(100)
    labels[::5] = [None, "", float("nan"), " "] * 5
    task = make_task("t", "series", (inputs, labels))
    everything = [task.train, task.test]
    assert sum(int((split.weights == 0).sum()) for split in everything) == 20
    assert sum(task.spec.counts) == int((task.train.weights > 0).sum())
    assert class_name("NaN") is None and class_name("nano") == "nano"


def test_a_callers_arrays_stay_unchanged():
    inputs, labels = np.random.default_rng(0).normal(size=(90, 4)), np.arange(90) % 3
    before = inputs.copy(), labels.copy()
    task = make_task("t", "series", (inputs, labels))
    task.folds(3, 0)
    assert np.array_equal(inputs, before[0]) and np.array_equal(labels, before[1])


X = torch.randn(20, 4)
AB = ["a", "b"] * 10


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (X[:0], [], "no train rows"),
        (X, AB[:19], "20 train rows but 19 labels"),
        (X, ["a"] * 20, "at least two classes .* only 'a'"),
        (X, [None] * 20, "at least two classes .* found none"),
        (X, ["c", *AB[1:]], "class 'c' has one training sample, .* add samples"),
        (X, list(range(20)), r"class '0' has one .*19 more.* measurements"),
        (X[0], AB, "20 labels"),
        (torch.randn(20, 2, 2, 2), AB, r"shape \(20, 2, 2, 2\); pass \(n, length\)"),
        (X.clone().index_put((torch.tensor(3), torch.tensor(2)), torch.tensor(math.nan)), AB,
         r"row train\[3\], value 3 is nan"),
        (X.clone().index_put((torch.tensor(3), torch.tensor(0)), torch.tensor(math.inf)), AB,
         r"row train\[3\], value 1 is inf"),
    ],
)  # fmt: skip
def test_bad_data_is_refused(inputs, labels, message):
    with pytest.raises(UserError, match=message):
        make_task("t", "series", (inputs, labels))


def test_splits_that_do_not_fit():
    with pytest.raises(UserError, match=r"test samples have shape \(1, 3\), .* \(1, 4\)"):
        make_task("t", "series", (X, AB), test=(X[:, :3], AB))
    with pytest.raises(UserError, match=r"test row test\[0\] has label 'c'.*known: a, b"):
        make_task("t", "series", (X, AB), test=(X, ["c", *AB[1:]]))
    with pytest.raises(UserError, match="class 'a' has no training sample that is not also"):
        make_task("t", "series", (X, AB), test=(X[::2], AB[::2]))
    with pytest.raises(UserError, match="no labels"):
        make_task("t", "series", Samples(X))


def test_digits():
    task = tasks.load("digits", seed=1)
    assert task.spec.input.shape == (1, 8, 8) and task.spec.classes == tuple("0123456789")
    sizes = [len(split) / 1797 for split in (task.train, task.validation, task.test)]
    assert np.allclose(sizes, [0.6, 0.2, 0.2], atol=1e-3)
    assert not set.intersection(*contents(task.train, task.test))
    assert isinstance(task, Task) and isinstance(task.train, Split)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digit", "unknown task 'digit'; did you mean 'digits'"),
        ("ucrr:Coffee", "unknown task 'ucrr:Coffee'"),
        ("ucr:../secret", "unknown UCR problem '../secret'"),
        ("./nowhere", "no such file or folder: './nowhere'"),
        ("nowhere.csv", "no such file or folder: 'nowhere.csv'"),
    ],
)
def test_unknown_names(name, message):
    pytest.importorskip("aeon")
    with pytest.raises(UserError, match=message):
        tasks.load(name)


def test_equal_length_version_of_the_archive():
    pytest.importorskip("aeon")
    task = tasks.load("ucr:JapaneseVowels")
    assert task.spec.input.shape == (12, 25) and "JapaneseVowels_eq_TRAIN.ts" in task.notes[0]
    assert repr(task).startswith("Task('ucr:JapaneseVowels', series (12, 25), 9 classes, train 216")


def test_unknown_option():
    with pytest.raises(UserError, match="task 'digits' takes no option 'size'; it takes seed"):
        tasks.load("digits", size=3)
