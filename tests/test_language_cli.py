"""Texts, sequences and molecules as a user runs them: fit, predict, export, and what is wrong."""

import csv
import json
import random
from pathlib import Path

import pytest

SHORT = ("--epochs", 2, "--set", "batch_size=16", "--json")


def sequences(path: Path, rows: int = 160) -> Path:
    """A CSV of DNA; the class is whether the letter in the middle is A."""
    draw = random.Random(0)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "sequence", "label"])
        for i in range(rows):
            letters = "".join(draw.choices("ACGT", k=12))
            table.writerow([f"s{i}", letters, "yes" if letters[6] == "A" else "no"])
    return path


def assays(path: Path) -> Path:
    """A CSV of molecules with two labels and gaps."""
    draw = random.Random(0)
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["smiles", "toxic", "soluble"])
        for i in range(120):
            carbons = "C" * (1 + i)
            table.writerow([carbons + "O", draw.choice(["0", "1", ""]), str(i % 2)])
    return path


@pytest.fixture
def run(reprogram, tmp_path) -> Path:
    out = tmp_path / "run"
    done = reprogram("fit", "--recipe", "r2dl", "--source", "zoo:text-cnn", "--task",
                     sequences(tmp_path / "dna.csv"), "--out", out, *SHORT)  # fmt: skip
    assert done.status == 0, done.err
    told = json.loads(done.out)
    assert told["source_unchanged"] and told["read"]["train"]["unknown"] == 0
    return out


def test_what_was_not_met_is_counted_and_said(reprogram, run, tmp_path) -> None:
    (tmp_path / "new.fasta").write_text(">a\nACGTACGTACGT\n>b\nNNNTACGTACGTACGTACGT\n")
    done = reprogram("predict", run, tmp_path / "new.fasta")
    assert done.status == 0, done.err
    rows = list(csv.DictReader(done.out.splitlines()))
    assert [row["row"] for row in rows] == ["a", "b"]
    assert float(rows[0]["probability_yes"]) + float(rows[0]["probability_no"]) == pytest.approx(1)
    assert "1 of 8 tokens were not met in training" in done.err
    assert "1 of 2 rows are longer than the program reads: cut" in done.err


def test_a_folded_program_says_the_same(reprogram, run, tmp_path) -> None:
    folded = tmp_path / "folded"
    told = json.loads(reprogram("export", run, folded, "--json").out)
    assert told["bytes"] < told["before"]
    file = tmp_path / "new.txt"
    file.write_text("ACGTACGTACGT\nTTTTTTTTTTTT\n")
    said = [reprogram("predict", place, file) for place in (run, folded)]
    assert said[0].status == 0 and said[0].out == said[1].out
    assert "holds a program already" in reprogram("export", run, folded).error
    assert "is for sources" in reprogram("export", run, tmp_path / "other", "--random").error


def test_several_labels_with_gaps(reprogram, tmp_path) -> None:
    out, table = tmp_path / "run", assays(tmp_path / "assays.csv")
    done = reprogram("fit", "--recipe", "r2dl", "--source", "zoo:text-cnn", "--task", table,
                     "--label", "toxic,soluble", "--out", out, *SHORT)  # fmt: skip
    assert done.status == 0, done.err
    assert set(json.loads(done.out)["test"]) >= {"accuracy", "roc_auc", "loss"}
    done = reprogram("predict", out, table, "--format", "jsonl")
    assert done.status == 0, done.err
    first = json.loads(done.out.splitlines()[0])
    assert set(first["probabilities"]) == {"toxic", "soluble"}
    assert all(0 <= p <= 1 for p in first["probabilities"].values())


@pytest.mark.parametrize(
    ("recipe", "source", "told"),
    [
        ("vocab-remap", "zoo:text-cnn", ()),
        ("vocab-remap", "zoo:text-cnn", ("--access", "label")),
        ("warp", "zoo:text-mlm", ("--set", "prompts=4")),
        ("cross-modal", "zoo:tiny-images", ()),
    ],
)
def test_every_recipe_of_texts_makes_a_program_and_a_report(
    reprogram, tmp_path, recipe, source, told
) -> None:
    out, table = tmp_path / "run", sequences(tmp_path / "dna.csv")
    done = reprogram("fit", "--recipe", recipe, "--source", source, "--task", table, "--out", out,
                     *SHORT, *told)  # fmt: skip
    assert done.status == 0, done.err
    done = reprogram("report", out)
    assert done.status == 0, done.err
    page = (out / "report.html").read_text()
    assert "tokens, " in page


def test_sequences_are_filled_in(reprogram, tmp_path) -> None:
    out, table = tmp_path / "run", sequences(tmp_path / "dna.csv")
    done = reprogram("fit", "--recipe", "reprogbert", "--source", "zoo:text-mlm", "--task",
                     f"infill:{table}?start=4&stop=8", "--out", out, *SHORT)  # fmt: skip
    assert done.status == 0, done.err
    assert 0 <= json.loads(done.out)["test"]["accuracy"] <= 1
    (tmp_path / "gaps.txt").write_text("ACGT____ACGT\n")
    done = reprogram("predict", out, tmp_path / "gaps.txt")
    assert done.status == 0, done.err
    (row,) = csv.DictReader(done.out.splitlines())
    assert len(row["label"]) == 12 and set(row["label"]) <= set("ACGT")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sequence,label\nACGT,a\n,b\n", "empty"),
        ("smiles,label\nC1CC,a\nCC,b\n", "C1CC"),
        ("sequence,other\nACGT,a\n", "label"),
    ],
)
def test_a_bad_file_is_one_line(reprogram, tmp_path, text, said) -> None:
    (tmp_path / "bad.csv").write_text(text)
    done = reprogram("fit", "--recipe", "r2dl", "--source", "zoo:text-cnn", "--task",
                     tmp_path / "bad.csv", "--out", tmp_path / "run", *SHORT)  # fmt: skip
    assert said in done.error
    assert not (tmp_path / "run").exists()


def test_a_length_that_the_source_does_not_take(reprogram, tmp_path) -> None:
    done = reprogram("fit", "--recipe", "r2dl", "--source", "zoo:text-cnn", "--task",
                     sequences(tmp_path / "dna.csv"), "--out", tmp_path / "run",
                     "--set", "length=100000", *SHORT)  # fmt: skip
    assert "100000" in done.error and "length" in done.error


def test_a_text_is_no_series(reprogram, tmp_path) -> None:
    table = sequences(tmp_path / "dna.csv")
    done = reprogram("fit", "--recipe", "v2s", "--source", "zoo:tiny", "--task", table, "--out",
                     tmp_path / "run", *SHORT)  # fmt: skip
    assert "takes a task of kind 'series'" in done.error
