"""Tasks of texts: read as they are meant, cut without leaks, refused in one line where broken."""

import gzip

import pytest
import torch

from reprogram import tasks
from reprogram.tasks.infill import load_infill
from reprogram.tasks.names import FIVE, read_names
from reprogram.texts import PAIR, decode, encode
from reprogram.types import InputSpec, TaskSpec, UserError

WORDS = ["good", "bad"]
TEXTS = [f"a {WORDS[i % 2]} film, number {i}" for i in range(60)]
LABELS = ["up", "down"] * 30
PAIRS = list(zip(TEXTS, LABELS, strict=True))


def table(header="text,label", rows=None):
    rows = [f'"{text}",{label}' for text, label in PAIRS] if rows is None else rows
    return "\n".join([header, *rows]) + "\n"


def write(path, text):
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return str(path)


def fasta(count=60):
    return "".join(
        f">s{i} of man {LABELS[i]}\nACGT\nTT{'AC' * (i % 3)}{i:b}\n" for i in range(count)
    )


def everything(task):
    """Text and class of all rows, by row."""
    return {
        row: (text, task.spec.classes[target])
        for split in (task.train, task.validation, task.test)
        if split is not None
        for row, text, target in zip(split.rows, decode(split.inputs), split.targets, strict=True)
    }


def spec(notation="", classes=("down", "up"), target="classes", name="toy"):
    shape = InputSpec("text", (30,), lower=0, upper=1114111, notation=notation)
    return TaskSpec(name, shape, classes, target=target)


GOOD = {
    "x.csv": table(),
    "bom.csv": "\ufeff" + table(),
    "x.csv.gz": table(),
    "numbers.csv": table("price,text,label",
                         [f'{i},"{t}",{y}' for i, (t, y) in enumerate(PAIRS)]),
    "only.csv": table("review,label"),
    "x.tsv": "text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in PAIRS),
    "x.jsonl": "".join(f'{{"label": "{y}", "text": "{t}"}}\n' for t, y in PAIRS),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_tables_hold_texts(tmp_path, name):
    task = tasks.load(write(tmp_path / name, GOOD[name]))
    assert task.spec.input == InputSpec("text", (max(map(len, TEXTS)),), lower=0, upper=1114111)
    assert task.spec.classes == ("down", "up") and sum(task.spec.counts) == len(task.train)
    found = everything(task)
    assert len(found) == 60 and set(found.values()) == set(PAIRS)
    x, y, w = task.train.batch(torch.arange(3))
    assert x.dtype == torch.float32 and decode(x) == decode(task.train.inputs[:3])
    assert y.shape == w.shape == (3,)


def test_a_named_column_and_a_pair(tmp_path):
    rows = [f"{i},left{i} a,right a,{y}" for i, y in enumerate(LABELS)]
    path = write(tmp_path / "x.csv", table("id,first,second,label", rows))
    task = tasks.load(f"{path}?column=first")
    assert all(
        text.startswith("left") and PAIR not in text for text, _ in everything(task).values()
    )
    pair = tasks.load(path, column="first,second")
    assert everything(pair)["0"] == (f"left0 a{PAIR}right a", "up")
    assert tasks.read(path, pair.spec).rows[:2] == ("0", "1")
    assert PAIR in decode(tasks.read(path, pair.spec).inputs)[0]
    with pytest.raises(UserError, match=r"several columns of text.*x.csv\?column=first"):
        tasks.load(path)
    with pytest.raises(UserError, match="no column 'third' for the text"):
        tasks.load(path, column="third")


@pytest.mark.parametrize("name", ["x.fasta", "x.fa.gz"])
def test_fasta(tmp_path, name):
    task = tasks.load(write(tmp_path / name, fasta()))
    assert task.spec.input.notation == "sequence" and task.spec.classes == ("down", "up")
    assert everything(task)["s5"] == ("ACGTTTACAC101", "down")
    reading = tasks.read(str(tmp_path / name), task.spec)
    assert reading.labels == tuple(LABELS) and reading.rows[5] == "s5"
    bare = write(tmp_path / "bare.fasta", ">s1\nACGT\n>s2 Homo sapiens\nAC GT\n")
    assert tasks.read(bare, task.spec).labels is None
    assert decode(tasks.read(bare, task.spec).inputs) == ["ACGT", "ACGT"]


def test_sequence_columns_tell_their_notation(tmp_path):
    rows = [f"ACGT{i:b},{y}" for i, y in enumerate(LABELS)]
    for header in ("seq", "Sequence", "protein_sequence"):
        task = tasks.load(write(tmp_path / "x.csv", table(f"{header},label", rows)))
        assert task.spec.input.notation == "sequence"


def test_published_splits_have_one_width(tmp_path):
    parts = ("train", "test", "dev") * 20
    rows = [f'"{t}{" indeed" * (p == "dev")}",{y},{p}'
            for (t, y), p in zip(PAIRS, parts, strict=True)]  # fmt: skip
    task = tasks.load(write(tmp_path / "x.csv", table("text,label,split", rows)))
    widths = {s.inputs.shape[1] for s in (task.train, task.validation, task.test)}
    assert widths == set(task.spec.input.shape) and min(widths) > max(map(len, TEXTS))
    assert decode(task.train.inputs)[0] == TEXTS[0]


def test_equal_texts_stay_on_one_side():
    names = [f"name{i % 40}" for i in range(200)]
    task = tasks.make_task("toy", "text", (names, [str(i % 3) for i in range(200)]))
    sides = [set(decode(s.inputs)) for s in (task.train, task.validation, task.test)]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_several_labels_with_gaps(tmp_path):
    rows = [f"{t.replace(',', '')},{i % 2},{('', '1.0', '0')[i % 3]}" for i, t in enumerate(TEXTS)]
    path = write(tmp_path / "x.csv", table("text,toxic,active", rows))
    task = tasks.load(path, label="toxic, active")
    assert task.spec.target == "labels" and task.spec.classes == ("toxic", "active")
    assert task.train.targets.shape == task.train.weights.shape == (len(task.train), 2)
    assert task.spec.counts == tuple(
        (task.train.targets * task.train.weights).sum(0).long().tolist()
    )
    reading = tasks.read(path, task.spec)
    assert reading.targets[:3].tolist() == [[0, 0], [1, 1], [0, 0]] and reading.labels is None
    assert reading.weights[:3].tolist() == [[1, 0], [1, 1], [1, 1]]
    assert task.limit(10).spec.target == "labels"
    part = write(tmp_path / "part.csv", table("text,active", ["new one,1"]))
    assert tasks.read(part, task.spec).weights.tolist() == [[0, 1]]


def test_several_labels_of_numbers():
    labels = [[i % 2, i % 3 % 2] for i in range(100)]
    told = {"target": "labels", "classes": ("odd", "third")}
    task = tasks.make_task("toy", "series", (torch.randn(100, 8), labels), **told)
    for part in (task, task.limit(40), *task.folds(3, 0)):
        assert part.spec.target == "labels"
        assert part.spec.counts == tuple(part.train.targets.sum(0).tolist())


def test_rows_to_predict_may_be_longer(tmp_path):
    lines = write(tmp_path / "x.txt", "one\r\nlonger than any text of training was\n\n")
    more = write(tmp_path / "y.csv", table("text,label", ["naïve,up", "ok,"]))
    reading = tasks.read([lines, more], spec())
    assert decode(reading.inputs) == ["one", "longer than any text of training was", "naïve", "ok"]
    assert reading.inputs.shape == (4, 36) and reading.weights.tolist() == [0, 0, 1, 0]
    assert reading.rows == ("x.txt:1", "x.txt:2", "y.csv:2", "y.csv:3")


BAD = {
    ("empty.csv", table(rows=['"",up', "b,down"])): "row empty.csv:2 is empty",
    ("nul.csv", table(rows=["a\x00b,up"])): "is not text",
    ("bell.csv", table(rows=["a\x07b,up", "b,down"])): r"row bell.csv:2, character 2 is '\\x07'",
    ("latin.csv", "text,label\ncafé,up\n".encode("latin-1")): "not UTF-8 text .*position 14",
    ("long.csv", table(rows=["x" * 100_001 + ",up", "b,down"])): "row long.csv:2 has 100001 char",
    ("label.csv", table("text,kind")): r"no column 'label'.*'text', 'kind'",
    ("lone.csv", table(rows=["a,up", "b,up"])): "at least two classes.*only 'up'",
    ("lonely.csv", table(rows=["a,up", "b,up", "c,down"])): "class 'down' has one training sample",
    ("x.txt", "one\ntwo\n"): "holds texts without labels",
    ("x.fasta", "ACGT\n>s1 up\nAC\n"): "x.fasta, line 1 stands before the first '>'",
    ("gap.fasta", ">s1 up\n>s2 down\nAC\n"): "row s1 is empty",
    ("bare.fasta", ">s1\nAC\n>s2\nAG\n"): "have no labels",
    ("x.jsonl", '{"text": "a"\n'): "x.jsonl, line 1 is no JSON",
    ("list.jsonl", '[1, 2]\n'): "line 1 is no JSON object",
    ("nested.jsonl", '{"text": ["a"], "label": 1}\n'): "'text' holds several values",
    ("surrogate.jsonl", '{"text": "\\ud800", "label": 1}\n{"text": "a", "label": 0}\n'):
        "row surrogate.jsonl:1, character 1 is",
}  # fmt: skip


@pytest.mark.parametrize(("file", "told"), BAD.items(), ids=[name for name, _ in BAD])
def test_broken_files_are_refused(tmp_path, file, told):
    with pytest.raises(UserError, match=told) as error:
        tasks.load(write(tmp_path / file[0], file[1]))
    assert "\n" not in str(error.value)


def test_several_labels_are_checked(tmp_path):
    rows = ["a,1,0", "b,0,2", "c,1,0"]
    path = write(tmp_path / "x.csv", table("text,toxic,active", rows))
    with pytest.raises(UserError, match=r"x.csv:3, label 'active' is '2'"):
        tasks.load(path, label="toxic,active")
    with pytest.raises(UserError, match="no column 'harmful'"):
        tasks.load(path, label="toxic,harmful")
    path = write(
        tmp_path / "y.csv", table("text,toxic,active", [r.replace("2", "0") for r in rows])
    )
    with pytest.raises(UserError, match="label 'active' is always 0"):
        tasks.load(path, label="toxic,active")
    with pytest.raises(UserError, match="name them in 'classes'"):
        tasks.make_task("toy", "text", (["a", "b"], [[0, 1], [1, 0]]), target="labels")


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [("x.csv", "price,label\n1,up\n", "holds numbers, task 'toy' takes texts"),
     ("x.txt", "one\n\ntwo\n", "row x.txt:2 is empty"),
     ("x.csv", "text,label\na,sideways\n", "label 'sideways', which is no class"),
     ("x.npz", "PK", "holds no texts")],
)  # fmt: skip
def test_broken_predictions_are_refused(tmp_path, name, text, told):
    with pytest.raises(UserError, match=told):
        tasks.read(write(tmp_path / name, text), spec())


def test_texts_for_a_task_of_numbers_are_refused(tmp_path):
    series = TaskSpec("waves", InputSpec("series", (1, 6)), ("down", "up"))
    with pytest.raises(UserError, match="holds text samples, task 'waves' takes series"):
        tasks.read(write(tmp_path / "x.fasta", fasta(2)), series)
    path = write(tmp_path / "x.csv", table())
    with pytest.raises(UserError, match=r"'kind' is 'image', and .* holds text"):
        tasks.load(path, kind="image")
    with pytest.raises(UserError, match="no column of numbers"):
        tasks.load(path, kind="series")


def test_infilling_asks_for_what_is_left_out(tmp_path):
    path = write(tmp_path / "x.fasta", fasta())
    whole, task = tasks.load(path), tasks.load(f"infill:{path}?start=2&stop=6")
    assert task.spec.target == "tokens" and task.spec.classes == tuple("01ACGT")
    for split, before in ((task.train, whole.train), (task.test, whole.test)):
        assert split.rows == before.rows
        assert (split.inputs[:, 2:6] == ord("_")).all() and (split.weights.sum(1) == 4).all()
        letters = encode(task.spec.classes)[:, 0][split.targets]
        filled = torch.where(split.weights > 0, letters, split.inputs)
        assert torch.equal(filled, before.inputs)
    assert sum(task.spec.counts) == 4 * len(task.train)
    reading = tasks.read(path, task.spec)
    assert reading.weights.shape == reading.inputs.shape and not reading.weights.any()


def test_infilling_where_texts_end(tmp_path):
    path = write(tmp_path / "x.fasta", fasta())
    task = load_infill(path, start=8, stop=12)
    asked = task.train.weights.sum(1)
    lengths = (task.train.inputs > 0).sum(1)
    assert torch.equal(asked, (lengths - 8).clamp_max(4).float()) and (asked > 0).all()
    assert any("without a letter there" in note for note in task.notes)
    for places in ({}, {"start": 3, "stop": 3}, {"start": 99, "stop": 120}):
        with pytest.raises(UserError, match=r"pass 0 <= start < stop, as infill:splice\?start=25"):
            load_infill(path, **places)


SIZES = {
    "names": (18, (20,), 11518 + 2897 + 3597), "names?classes=5": (5, (16,), 443 + 111 + 138),
    "trec": (6, (196,), 5442 + 500), "trec?labels=fine": (50, (196,), 5442 + 500),
    "sst2": (2, (283,), 6917 + 872 + 1821), "rte": (2, (1419,), 2490 + 277),
    "splice": (3, (60,), 3004),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_published_tasks(name, data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    task = tasks.load(name)
    classes, shape, rows = SIZES[name]
    assert (len(task.spec.classes), task.spec.input.shape) == (classes, shape)
    parts = [task.train, task.validation, task.test]
    assert sum(map(len, parts)) == rows and task.spec.target == "classes"
    sides = [set(decode(part.inputs)) for part in parts]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_the_five_nationalities_are_the_papers(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    lines = [line.encode() for nationality in FIVE for line in read_names(nationality)]
    # a row a byte, 80 % of them for train: the published 3,632 and 909
    assert len(lines) == 704 and sum(map(len, lines)) == 3632 + 909
    with pytest.raises(UserError, match="'classes' is 6"):
        tasks.load("names?classes=6")
    with pytest.raises(UserError, match="unknown labels 'finer'"):
        tasks.load("trec?labels=finer")
