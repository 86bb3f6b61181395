"""Options in a task's name, and the tables they may ask for."""

import dataclasses

import numpy as np
import pytest
import torch

from reprogram import tasks
from reprogram.tasks import make_task
from reprogram.types import InputSpec, TaskSpec, UserError


def says(name, *told, **options):
    with pytest.raises(UserError) as caught:
        tasks.load(name, **options)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in told), message


def test_limits_draw_after_the_splits():
    whole, small = tasks.load("digits"), tasks.load("digits?limit=100&test=50")
    assert len(small.train) == 100 == sum(small.spec.counts) and len(small.test) == 50
    assert small.validation.rows == whole.validation.rows
    assert set(small.train.rows) <= set(whole.train.rows)
    assert set(small.test.rows) <= set(whole.test.rows)
    assert min(small.spec.counts) >= 9 and max(small.spec.counts) <= 11
    assert small.spec.input.mean == pytest.approx(small.train.batch(torch.arange(100))[0].mean())
    assert any(note.startswith("train: 100 of 1078") for note in small.notes)
    assert any(note.startswith("test: 50 of 359") for note in small.notes)
    few = tasks.load("digits?validation=40")
    assert len(few.validation) == 40 and set(few.validation.rows) <= set(whole.validation.rows)
    assert few.train.rows == whole.train.rows and few.test.rows == whole.test.rows
    more = tasks.load("digits?limit=99999&test=99999")
    assert more.train.rows == whole.train.rows and more.notes == whole.notes


def test_the_name_finds_the_same_task_again():
    first = tasks.load("digits?limit=100", seed=3)
    assert first.spec.name == "digits?limit=100"
    again = tasks.load(first.spec.name, seed=3)
    assert again.spec == first.spec and again.train.rows == first.train.rows
    keyword = tasks.load("digits", limit=100, seed=3)
    assert keyword.spec == first.spec and keyword.train.rows == first.train.rows
    other = tasks.load("digits?limit=100", seed=4)
    assert set(other.train.rows) != set(first.train.rows)
    assert tasks.load("digits?seed=3&limit=100").train.rows == first.train.rows


def test_what_is_no_option():
    says("digits?limi=100", "takes no option 'limi'", "it takes seed, limit, validation, test")
    says("digits", "takes no option 'size'", size=4)
    says("digits?limit=many", "option 'limit' is 'many'", "whole number")
    says("digits?limit=1.5", "option 'limit' is 1.5; pass a whole number")
    says("digits?limit=", "'limit=' is no option")
    says("digits?", "'' is no option")
    says("digits?limit=20&limit=30", "option 'limit' stands twice")
    says("digits?limit=3", "'limit' is 3", "10 classes")
    says("digits?limit=-3", "'limit' is -3")
    says("digits?test=3", "'test' is 3", "10 classes")
    says("digit?limit=100", "unknown task 'digit'", "did you mean 'digits'")
    says("no.csv?kind=table", "no such file or folder: 'no.csv'")


@pytest.fixture
def csv(tmp_path):
    """100 rows of two columns, the second a hundred times the first's scale, and a constant."""
    lines = ["a,b,c,label"]
    lines += [f"{i},{100 * (i % 10)},7,{'xy'[i % 2]}" for i in range(100)]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    return tmp_path / "data.csv"


def test_a_table_of_columns(csv):
    task = tasks.load(f"{csv}?kind=table")
    assert task.spec.name == f"{csv}?kind=table"
    spec = task.spec.input
    assert (spec.kind, spec.shape) == ("table", (3,)) and task.train.inputs.dtype == torch.float32
    values = task.train.inputs.double()
    assert torch.allclose(torch.tensor(spec.means).double(), values.mean(0))
    stds = values.std(0, correction=0)
    assert torch.allclose(torch.tensor(spec.stds[:2]).double(), stds[:2]) and spec.stds[2] == 1
    assert TaskSpec.from_json(task.spec.json()) == task.spec
    assert tasks.load(str(csv), kind="table").spec == task.spec
    assert tasks.load(str(csv)).spec.input.kind == "series"
    small = task.limit(20)
    assert small.spec.input.means != spec.means  # of the rows that are trained on


def test_a_table_to_predict(csv, tmp_path):
    spec = tasks.load(f"{csv}?kind=table").spec
    (tmp_path / "new.csv").write_text("a,b,c\n1,2,3\n4,5,6")
    reading = tasks.read(tmp_path / "new.csv", spec)
    assert reading.inputs.tolist() == [[1, 2, 3], [4, 5, 6]] and reading.labels is None
    (tmp_path / "narrow.csv").write_text("a,b\n1,2\n4,5")
    with pytest.raises(UserError, match=r"2 columns, task .* takes 3"):
        tasks.read(tmp_path / "narrow.csv", spec)


def test_a_table_of_arrays(tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 4))
    np.savez(tmp_path / "data.npz", X=x, y=np.arange(60) % 2)
    task = tasks.load(f"{tmp_path / 'data.npz'}?kind=table")
    assert task.spec.input.shape == (4,) and len(task.spec.input.means) == 4
    assert tasks.read(tmp_path / "data.npz", task.spec).inputs.shape == (60, 4)
    np.savez(tmp_path / "cube.npz", X=x.reshape(60, 2, 2), y=np.arange(60) % 2)
    says(f"{tmp_path / 'cube.npz'}?kind=table", "(60, 2, 2)", "(n, columns)")


def test_what_is_no_table(csv, tmp_path):
    says(f"{csv}?kind=tabel", "unknown kind 'tabel'", "did you mean 'table'")
    np.savez(tmp_path / "photos.npz", X=np.eye(8, dtype=np.uint8).repeat(2, 1)[None].repeat(8, 0),
             y=[0, 1] * 4)  # fmt: skip
    says(f"{tmp_path / 'photos.npz'}?kind=table", "'kind' is 'table'", "holds image samples")
    (tmp_path / "x_TRAIN.tsv").write_text("1\t0.5\t0.25\n2\t0.5\t0.75\n" * 9)
    says(f"{tmp_path / 'x_TRAIN.tsv'}?kind=table", "kind", "x_TRAIN.tsv")
    with pytest.raises(UserError, match=r"table inputs have shape .* \(n, columns\)"):
        make_task("t", "table", (torch.zeros(4, 2, 2), ["a", "b"] * 2))


def test_a_path_that_is_there_is_itself(tmp_path):
    odd = tmp_path / "what?limit=2"
    odd.mkdir()
    says(str(odd), "folder", "what?limit=2 holds no class folders")


def test_specifications_without_columns_are_what_they_were():
    """Fingerprints hash them, and programs of the first format must load."""
    plain = InputSpec("image", (1, 8, 8), 0.0, 1.0)
    assert set(plain.json()) == {
        "kind", "shape", "lower", "upper", "rate", "normalised", "mean", "std"
    }  # fmt: skip
    assert InputSpec.from_json(plain.json()) == plain
    table = dataclasses.replace(plain, kind="table", shape=(2,), means=(1.0, 2.0), stds=(3.0, 4.0))
    assert InputSpec.from_json(table.json()) == table
