"""Every kind of user file: read as it is meant, refused in one line where it is broken."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from reprogram import tasks
from reprogram.types import InputSpec, TaskSpec, UserError

VALUES = np.random.default_rng(0).normal(size=(40, 6)).round(4)
LABELS = ["up", "down"] * 20


def csv_text(header="a,b,c,d,e,f,label", values=VALUES, labels=LABELS, delimiter=","):
    lines = [header]
    lines += [
        delimiter.join([*map(str, row), label]) for row, label in zip(values, labels, strict=True)
    ]
    return "\n".join(lines) + "\n"


def ucr_text(values=VALUES):
    return "".join(f"{i % 2}\t" + "\t".join(map(str, row)) + "\n" for i, row in enumerate(values))


def ts_text(values=VALUES, channels=1):
    lines = ["# a comment", "@problemName p", "@univariate true", "@classLabel true up down"]
    lines.append("@data")
    for row, label in zip(values, LABELS, strict=False):
        parts = [",".join(map(str, part)) for part in np.split(row, channels)]
        lines.append(":".join([*parts, label]))
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def everything(task):
    """Values and class names of all rows, by row."""
    found = {}
    for split in filter(None, (task.train, task.validation, task.test)):
        for i, row in enumerate(split.rows):
            found[row] = (split.inputs[i], task.spec.classes[split.targets[i]])
    return found


def series_spec(channels=1, length=6, classes=("down", "up")):
    return TaskSpec("waves", InputSpec("series", (channels, length)), tuple(classes))


GOOD = {
    "x.csv": csv_text(),
    "bom.csv": "\ufeff" + csv_text(),
    "quoted.csv": csv_text('"a","b","c","d","e","f","label"'),
    "x.tsv": csv_text("a b c d e f label".replace(" ", "\t"), delimiter="\t"),
    "windows.csv": csv_text().replace("\n", "\r\n"),
    "text.csv": csv_text("a,b,c,d,e,f,label,who", labels=[f"{c},Ann" for c in LABELS]),
    "x.ts": ts_text(),
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("zipped", [False, True])
def test_tables_and_ts_hold_what_was_written(name, zipped, tmp_path):
    path = tmp_path / (name + ".gz" * zipped)
    path.write_bytes(gzip.compress(GOOD[name].encode()) if zipped else GOOD[name].encode())
    first = 6 if name == "x.ts" else 2
    found = everything(tasks.load(str(path)))
    assert len(found) == 40
    for i, (row, label) in enumerate(zip(VALUES, LABELS, strict=True)):
        value, target = found[f"{path.name}:{i + first}"]
        assert target == label and torch.allclose(value, torch.tensor(row[None]).float())
    reading = tasks.read(path, series_spec())
    assert reading.rows == tuple(f"{path.name}:{i + first}" for i in range(40))
    assert reading.labels == tuple(LABELS) and reading.weights.all()


def test_multivariate_ts(tmp_path):
    task = tasks.load(write(tmp_path / "x.ts", ts_text(channels=3)))
    assert task.spec.input.shape == (3, 2)
    value, _ = everything(task)["x.ts:6"]
    assert torch.allclose(value, torch.tensor(VALUES[0].reshape(3, 2)).float())


@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz"])
def test_ucr_pair(suffix, tmp_path):
    for part, values in (("TRAIN", VALUES), ("TEST", -VALUES[:9])):
        raw = ucr_text(values).encode()
        path = tmp_path / f"P_{part}{suffix}"
        path.write_bytes(gzip.compress(raw) if suffix.endswith("gz") else raw)
    task = tasks.load(str(tmp_path / f"P_TRAIN{suffix}"))
    assert (len(task.train), len(task.test)) == (40, 9) and task.spec.classes == ("0", "1")
    assert torch.allclose(task.test.inputs[:, 0], -torch.tensor(VALUES[:9]).float())
    reading = tasks.read(tmp_path / f"P_TEST{suffix}", task.spec)
    assert torch.equal(reading.inputs, task.test.inputs) and reading.rows == task.test.rows


def test_ucr_without_labels_is_read(tmp_path):
    text = "".join("\t".join(map(str, row)) + "\n" for row in VALUES)
    reading = tasks.read(write(tmp_path / "new.tsv", text), series_spec())
    assert reading.labels is None and len(reading) == 40 and not reading.weights.any()


def test_other_label_column_and_splits(tmp_path):
    rows = [f"{i},{i / 8},{'ab'[i % 2]},{('train', 'val', 'TEST')[i % 3]}" for i in range(90)]
    path = write(tmp_path / "x.csv", "\n".join(["id,x,class,split", *rows]))
    task = tasks.load(path, label="class")
    assert task.spec.classes == ("a", "b") and task.spec.input.shape == (1, 1)
    assert set(task.test.rows) == {str(i) for i in range(90) if i % 3 == 2}  # by their id
    with pytest.raises(UserError, match=r"no column 'label'.*--label, one of: 'id', 'x', 'class'"):
        tasks.load(path)


def test_rows_to_predict_keep_order_and_identity(tmp_path):
    text = csv_text("id,b,c,d,e,f,g", np.c_[np.arange(40)[::-1], VALUES[:, :5]], ["1.5"] * 40)
    path = write(tmp_path / "new.csv", text)
    reading = tasks.read(path, series_spec())
    assert reading.rows == tuple(f"{float(i)}" for i in range(39, -1, -1))
    assert reading.labels is None and not reading.weights.any()
    labelled = write(tmp_path / "old.csv", csv_text(labels=["", *LABELS[1:]]))
    both = tasks.read([path, labelled], series_spec())
    assert both.rows[39:41] == ("0.0", "old.csv:2") and len(both) == 80
    assert both.labels[40:42] == (None, "down")
    inputs, targets, weights = both.batch(torch.tensor([41, 40]))
    assert targets[0] == 0 and weights.tolist() == [1, 0]
    assert torch.allclose(inputs[0, 0], torch.tensor(VALUES[1]).float())


def test_files_of_one_name_are_told_apart(tmp_path):
    paths = []
    for folder in "ab":
        (tmp_path / folder).mkdir()
        paths.append(write(tmp_path / folder / "x.csv", csv_text()))
    reading = tasks.read(paths, series_spec())
    assert len(set(reading.rows)) == 80 and reading.rows[0] == f"{paths[0]}:2"


BROKEN = {
    ("empty.csv", ""): r"empty.csv is empty",
    ("header.csv", "a,b,label\n"): "has a header but no rows",
    ("binary.csv", "\0\0"): "is not text",
    ("ragged.csv", csv_text() + "1,2,up\n"): r"row ragged.csv:42 has 3 cells, expected 7",
    ("word.csv", csv_text().replace(str(VALUES[2, 1]), "hm")): r"word.csv:4, column 'b' is 'hm'",
    ("nan.csv", csv_text().replace(str(VALUES[2, 1]), "nan")): r"nan.csv:4, column 'b' is 'nan'",
    ("gap.csv", csv_text().replace(str(VALUES[2, 1]), "")): r"gap.csv:4, column 'b' is empty",
    ("inf.csv", csv_text().replace(str(VALUES[2, 1]), "-inf")): r"inf.csv:4, column 'b' is '-inf'",
    ("label.csv", csv_text("a,b,c,d,e,f,kind")): r"no column 'label'.*'a', .*'kind'",
    ("text.csv", "label,split\nup,train\ndown,train\n"): "no column of numbers beside 'label'",
    ("german.csv", csv_text().replace(",", ";")): "separated by ';'",
    ("bare.csv", "1,2\n3,4\n"): "has no header",
    ("quote.csv", csv_text() + '"1,2\n'): r"quote.csv, line 42: .*check its quotes",
    ("split.csv", "x,label,split\n1,a,train\n2,b,no\n"): r"split.csv:3, column 'split' is 'no'",
    ("one.csv", csv_text(labels=["odd", *LABELS[1:]])): "class 'odd' has one training sample",
    ("single.csv", csv_text(labels=["up"] * 40)): "at least two classes",
    ("x.tsv", ucr_text() + "1\t2\t3\n"): r"row x.tsv:41 has 2 values, expected 6",
    ("n.tsv", ucr_text() + "1\t" + "NaN\t" * 6 + "\n"): r"row n.tsv:41, value 1 is nan",
    ("w.tsv", ucr_text() + "1\t2\t3\t4\tw\t5\t6"): r"row w.tsv:41, value 4 is 'w'",
    ("x.ts", ts_text() + "1,2,3:up\n"): r"row x.ts:46 has 3 values, expected 6",
    ("c.ts", ts_text() + "1,2,3:1,2,3:up\n"): r"row c.ts:46 has 2 channels, expected 1",
    ("m.ts", ts_text() + "1,2,?,4,5,6:up\n"): r"row m.ts:46, value 3 is missing",
    ("l.ts", ts_text() + "1,2,3,4,5,6:left\n"): r"row l.ts:46 has label 'left'.*up down",
    ("d.ts", ts_text().replace("@data", "@date")): r"line 6 stands before @data",
    ("e.ts", "@problemName p\n"): "has no @data line",
    ("f.ts", "@problemName p\n@data\n"): "nothing after @data",
    ("t.ts", ts_text().replace("@univariate", "@timestamps")): "has time stamps",
    ("r.ts", ts_text().replace("@classLabel", "@targetLabel")): "have no labels",
    ("x.doc", "1 2 3"): r"x.doc is of no known kind; known: .csv",
    ("x.npz", "PK"): r"x.npz is no .npz of plain arrays",
}  # fmt: skip


@pytest.mark.parametrize("name, text", BROKEN, ids=[name for name, _ in BROKEN])
def test_broken_files_are_refused(name, text, tmp_path):
    path = write(tmp_path / name, text)
    with pytest.raises(UserError, match=BROKEN[name, text]) as caught:
        tasks.load(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("raw", [gzip.compress(b"a,label\n" * 99)[:-9], b"no gzip", b""])
def test_broken_gzip(raw, tmp_path):
    (tmp_path / "x.csv.gz").write_bytes(raw)
    with pytest.raises(UserError, match=r"x.csv.gz is"):
        tasks.load(str(tmp_path / "x.csv.gz"))


def test_rows_that_do_not_fit_the_program(tmp_path):
    path = write(tmp_path / "x.csv", csv_text())
    with pytest.raises(UserError, match=r"series of shape \(1, 6\), task 'waves' takes \(1, 9\)"):
        tasks.read(path, series_spec(length=9))
    with pytest.raises(UserError, match=r"row x.csv:2 has label 'up', .* no class .*\(a, b\)"):
        tasks.read(path, series_spec(classes="ab"))
    with pytest.raises(UserError, match="holds series samples, task 'p' takes image samples"):
        tasks.read(path, TaskSpec("p", InputSpec("image", (1, 2, 2)), ("a", "b")))
    with pytest.raises(UserError, match=r"no such file or folder: 'absent.csv'"):
        tasks.read("absent.csv", series_spec())
    with pytest.raises(UserError, match="no files to read"):
        tasks.read([], series_spec())


def test_npz_of_series_and_images(tmp_path):
    y = np.array(LABELS)
    np.savez(tmp_path / "a.npz", X_train=VALUES, y_train=y, X_test=-VALUES[:4], y_test=y[:4])
    task = tasks.load(str(tmp_path / "a.npz"))
    assert (len(task.train), len(task.test)) == (40, 4) and task.spec.classes == ("down", "up")
    assert tasks.read(tmp_path / "a.npz", task.spec).rows == task.test.rows
    pixels = np.random.default_rng(0).integers(0, 255, (40, 5, 7, 3), dtype=np.uint8)
    np.savez(tmp_path / "b.npz", X=pixels, y=y)
    task = tasks.load(str(tmp_path / "b.npz"))
    assert task.spec.input.shape == (3, 5, 7) and len(everything(task)) == 40
    value, _ = everything(task)["b.npz:X[3]"]
    assert np.array_equal(value.permute(1, 2, 0).numpy(), pixels[3])
    grey = TaskSpec("grey", InputSpec("image", (1, 4, 4)), ("down", "up"))
    assert tasks.read(tmp_path / "b.npz", grey).inputs.shape == (40, 1, 4, 4)
    np.savez(tmp_path / "c.npz", X=VALUES)
    assert tasks.read(tmp_path / "c.npz", series_spec()).labels is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "holds nothing; name its arrays"),
        ({"a": VALUES}, "holds a; name its arrays"),
        ({"X": VALUES}, "have no labels"),
        ({"X": VALUES, "y": np.arange(3)}, r"array y of .* has shape \(3,\), expected \(40,\)"),
        ({"X": VALUES.astype(object), "y": np.arange(40)}, "plain arrays"),
        ({"X": VALUES.astype(str), "y": np.arange(40)}, "numbers are needed"),
        ({"X": VALUES[:, 0], "y": np.arange(40)}, r"has shape \(40,\)"),
        ({"X": np.zeros((40, 3, 3, 2), np.uint8), "y": np.arange(40)}, "images uint8"),
        ({"X_test": VALUES, "y_test": np.arange(40) % 2}, "no training rows, only test"),
        ({"X": np.zeros((0, 4)), "y": np.zeros(0)}, "no train rows"),
    ],
)
def test_broken_npz(arrays, message, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(UserError, match=message):
        tasks.load(str(tmp_path / "x.npz"))


def test_real_problems_are_the_same_in_both_formats(data_root, tmp_path):
    """The archive's TSV against aeon's bundled .ts."""
    pytest.importorskip("aeon")
    for name in ("GunPoint", "ItalyPowerDemand"):
        bundled = tasks.load(f"ucr:{name}")
        own = tasks.load(str(data_root / "ucr" / name / f"{name}_TRAIN.tsv.gz"))
        assert bundled.spec.classes == own.spec.classes and bundled.spec.name == f"ucr:{name}"
        for one, other in ((bundled.train, own.train), (bundled.test, own.test)):
            assert torch.allclose(one.inputs, other.inputs, atol=1e-5)
            assert torch.equal(one.targets, other.targets)


def test_archive_without_aeon(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(__import__("sys").modules, "aeon.datasets", None)
    task = tasks.load("ucr:Coffee")
    assert (len(task.train), len(task.test), task.validation) == (28, 28, None)
    with pytest.raises(UserError, match=r"pip install 'reprogram\[series\]'"):
        tasks.load("ucr:NoSuchProblem")
