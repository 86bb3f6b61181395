"""Controls of texts: they find what is there to find, use the known labels only, and refuse."""

import pytest
import torch

from reprogram import diagnose, tasks
from reprogram.diagnose.network import text_network
from reprogram.diagnose.text import by_letters
from reprogram.types import UserError

DRAWS = torch.Generator().manual_seed(0)
LETTERS = [["ACGT"[i] for i in row] for row in torch.randint(0, 4, (200, 12), generator=DRAWS)]
PLACED = ["".join(row) for row in LETTERS]  # the class is the letter at place 3
ALKANES = ["C" * (i // 4 + 1) + end for i in range(240) for end in ("", "O", "N", "S")[i % 4 :][:1]]


def places(**told):
    return tasks.make_task(
        "places", "text", (PLACED, [s[3] for s in PLACED]), notation="sequence", **told
    )


def words(count=240):
    texts = [f"it is {('good', 'bad', 'so so')[i % 3]} of number {i}" for i in range(count)]
    return tasks.make_task("words", "text", (texts, [str(i % 3) for i in range(count)]))


def gaps(notation="sequence"):
    """Two labels; the second is known of every other row, and wrong where it is not."""
    labels = [[int(s[0] == "A"), int(s[5] in "AC") if i % 2 else ""] for i, s in enumerate(PLACED)]
    return tasks.make_task(
        "gaps", "text", (PLACED, labels), target="labels", classes=("a", "b"), notation=notation
    )


def molecules():
    return tasks.make_task("ends", "text", (ALKANES, [s[-1] for s in ALKANES]), notation="smiles")


@pytest.mark.parametrize(
    ("control", "make", "least"),
    [(diagnose.positional, places, 1.0), (diagnose.ngrams, words, 1.0),
     (diagnose.positional, gaps, 0.99), (diagnose.ngrams, molecules, 0.99)],
)  # fmt: skip
def test_a_control_finds_what_is_there(control, make, least):
    pytest.importorskip("rdkit")
    assert control(make())["accuracy"] >= least


def test_fingerprints_see_groups():
    pytest.importorskip("rdkit")
    assert diagnose.fingerprints(molecules())["accuracy"] > 0.95
    assert diagnose.fingerprints(molecules(), forest=True)["accuracy"] > 0.95


def test_counts_see_no_places():
    assert diagnose.ngrams(places())["accuracy"] < 0.7 < diagnose.positional(places())["accuracy"]


def test_what_is_not_known_changes_nothing():
    task = gaps()
    for split in (task.train, task.validation, task.test):
        split.targets[split.weights == 0] = 0
    before = diagnose.positional(task)
    for split in (task.train, task.validation, task.test):
        split.targets[split.weights == 0] = 1
    assert diagnose.positional(task) == before


def test_folds_choose_where_there_is_no_validation():
    task = words(90)
    assert task.validation is None and diagnose.ngrams(task)["accuracy"] == 1.0


def test_units_follow_the_texts():
    assert by_letters(places()) and not by_letters(words())
    names = tasks.make_task("names", "text", (PLACED, [s[3] for s in PLACED]))
    assert by_letters(names)
    assert [text_network(task, 0).parts[1].parts for task in (places(), words())] == [10, 1]


@pytest.mark.parametrize("make", [places, words, gaps])
def test_a_small_network_reads_texts(make):
    task = make()
    found = diagnose.scratch(task, epochs=3)
    assert found["accuracy"] > diagnose.majority(task)["accuracy"]


def test_controls_refuse_in_one_line(tmp_path):
    lines = [f">{i} {text[3]}\n{text}\n" for i, text in enumerate(PLACED)]
    (tmp_path / "x.fasta").write_text("".join(lines))
    infill = tasks.load(f"infill:{tmp_path}/x.fasta?start=2&stop=4")
    cases = [
        (
            diagnose.ngrams,
            tasks.load("digits?limit=50"),
            "holds image samples; this control is for",
        ),
        (diagnose.ngrams, infill, "asks for tokens place by place"),
        (diagnose.positional, words(), "have 21 to 25: use ngrams"),
        (diagnose.fingerprints, words(), "holds no SMILES"),
        (diagnose.logistic, words(), "for texts use ngrams"),
        (diagnose.boosting, places(), "for texts use ngrams"),
        (diagnose.scratch, infill, "asks for tokens place by place"),
    ]
    for control, task, told in cases:
        with pytest.raises(UserError, match=told) as error:
            control(task)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="no n-gram stands in two"):
        diagnose.ngrams(
            tasks.make_task("few", "text", (["ab cd", "ef gh", "ij kl", "mn op"], "xyxy"),
                            test=(["q r"], "x"), validation_share=0)
        )  # fmt: skip
