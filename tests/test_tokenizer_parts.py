"""Texts as tokens: what is a token, what is unknown, what is cut, and that it is all counted."""

import json
import sys

import pytest
import torch
from tiny_language import WordTokenizer, coded, language_source, text_spec
from tiny_text import text_source
from typechecker import unchecked

from reprogram import parts
from reprogram.sources import CallableSource
from reprogram.texts import PAIR, encode
from reprogram.transformations import (
    Characters,
    Compose,
    FreeRows,
    KMers,
    SelfiesTokens,
    SmilesTokens,
    SourceTokens,
    Words,
)
from reprogram.transformations.tokens.base import room
from reprogram.transformations.tokens.units import UNITS, learned
from reprogram.types import InputSpec, OutputSpec, TaskSpec, UserError

READERS = [Characters, Words, KMers, SmilesTokens]
TEXTS = ["C1CC c", "CC(=O) B\u00e4", f"the C{PAIR}CC?", "C", "\U0001f9ec C"]


@pytest.mark.parametrize("kind", READERS)
def test_what_was_learned_is_read_back(kind) -> None:
    part = kind.learn(TEXTS)
    ids = part.prepare(encode(TEXTS).float())
    assert ids.dtype == torch.long and ids.shape == (len(TEXTS), part.length)
    for text, row in zip(TEXTS, ids.tolist(), strict=True):
        told = [part.symbols[i - 2] for i in row if i > 0]
        assert 1 not in row and told == part.tokens(text)
        assert row == sorted(row, key=lambda i: i == 0)  # filled up behind alone
    assert part.tally(encode(TEXTS))["unknown"] == part.tally(encode(TEXTS))["cut"] == 0
    assert torch.equal(part(ids), ids)
    again = parts.build("transformations", json.loads(json.dumps(parts.describe(part))))
    assert torch.equal(again.prepare(encode(TEXTS)), ids)
    assert part.prepare(encode(TEXTS)[:0]).shape == (0, part.length)


@pytest.mark.parametrize("kind", READERS)
def test_symbols_are_ordered_by_how_often_they_are_met(kind) -> None:
    part = kind.learn(TEXTS)
    assert part.symbols == kind.learn(TEXTS[::-1]).symbols
    counts = [sum(part.tokens(t).count(s) for t in TEXTS) for s in part.symbols]
    assert counts == sorted(counts, reverse=True) and min(counts) > 0
    often = kind.learn(TEXTS, least=2)
    assert often.symbols == part.symbols[: sum(c > 1 for c in counts)]
    assert kind.learn(TEXTS, length=3).length == 3
    assert kind.learn(TEXTS, most=2).length == 2
    assert kind.learn([]).length == 1


def test_characters_all_at_once_are_those_one_by_one() -> None:
    part = Characters.learn(["hello", "world", "\U0001f9ec\u00e4"], length=6)
    texts = ["low", "hall\u00e4", "", "no \U0001f9ec!", "helloworld", "zzzzzzzzz"]
    ids, cut = part.encoded(encode(texts))
    slow, slow_cut = super(Characters, part).encoded(encode(texts))
    assert torch.equal(ids, slow) and torch.equal(cut, slow_cut)
    assert part.tally(encode(texts)) == {"tokens": 26, "unknown": 11, "cut": 2}


@pytest.mark.parametrize(
    ("part", "text", "tokens"),
    [
        (Words([], 1), "What's UP, Doc 3?", ["what", "'", "s", "up", ",", "doc", "3", "?"]),
        (Words([], 1, lower=False), "Up up", ["Up", "up"]),
        (Words([], 1), f"one{PAIR}two", ["one", PAIR, "two"]),
        (KMers([], 1), "acgtn", ["ACG", "TN"]),
        (KMers([], 1), "AC GT\nAC", ["ACG", "TAC"]),
        (KMers([], 1), f"ACG{PAIR}T", ["ACG", PAIR, "T"]),
        (KMers([], 1, k=2, stride=1), "ACGT", ["AC", "CG", "GT"]),
        (KMers([], 1, k=4, stride=3), "ACGTACG", ["ACGT", "TACG"]),
        (KMers([], 1, k=4, stride=3), "AC", ["AC"]),
        (SmilesTokens([], 1), "[Na+].Clc1%10c#N", ["[Na+]", ".", "Cl", "c", "1", "%10", "c", "#",
                                                   "N"]),
        (SmilesTokens([], 1), "C[oops", ["C", "[", "o", "o", "p", "s"]),
    ],
)  # fmt: skip
def test_how_a_text_is_cut(part, text, tokens) -> None:
    assert part.tokens(text) == tokens


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_no_letter_is_lost(k: int) -> None:
    for length in range(1, 12):
        text = "ACGTTGCAACGT"[:length]
        assert "".join(KMers([], 1, k=k, stride=k).cut(text)) == text
        for stride in range(1, k + 1):
            cut = KMers([], 1, k=k, stride=stride).cut(text)
            assert cut[0][:stride] + "".join(c[-1] for c in cut)  # every token has letters
            assert (len(cut) - 1) * stride + len(cut[-1]) == length


@pytest.mark.parametrize("kind", READERS)
def test_an_empty_text_is_one_unknown_token(kind) -> None:
    part = kind.learn(["AC", "CC"])
    assert part.prepare(encode(["", "AC"]))[0].tolist() == [1] + [0] * (part.length - 1)


def test_what_is_lost_is_counted() -> None:
    part = Compose([Words(["a", "b"], 3), FreeRows()])
    assert part.tally(encode(["a b", "a x b a", "", "z"])) == {"tokens": 7, "unknown": 3, "cut": 1}


def test_selfies() -> None:
    pytest.importorskip("selfies")
    part = SelfiesTokens.learn(["C1CC1", "CC(=O)O"])
    assert part.prepare(encode(["CC"]))[0, :2].tolist() == [2 + part.symbols.index("[C]")] * 2
    assert part.prepare(encode([""]))[0, 0] == 1
    with pytest.raises(UserError, match=r"SMILES 'C1CC' has no SELFIES .* read SMILES tokens"):
        part.prepare(encode(["C1CC"]))


def test_a_missing_package_names_its_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "selfies", None)
    with pytest.raises(UserError, match=r"pip install 'reprogram\[chem\]'"):
        SelfiesTokens([], 1).cut("C")


def test_the_sources_own_tokens() -> None:
    source = language_source()
    part = SourceTokens.learn(["good film", "unlikely"], source)
    assert part.length == 2
    part = SourceTokens(5)
    part.bind(source, text_spec())
    ids = part.prepare(coded("good film", f"bad{PAIR}the plot", "nonsense"))
    assert ids.tolist() == [[5, 7, 0, 0, 0], [6, 3, 9, 8, 0], [1, 0, 0, 0, 0]]
    assert part.tally(coded("good a a a a a", "zz")) == {"tokens": 6, "unknown": 1, "cut": 1}
    spec = part.after(text_spec()).input
    assert (spec.kind, spec.shape, spec.upper) == ("tokens", (5,), WordTokenizer().size - 1)
    unmarked = SourceTokens(5)
    unmarked.bind(language_source(brackets=False), text_spec())
    assert unmarked.prepare(coded(f"bad{PAIR}plot"))[0].tolist() == [6, 8, 0, 0, 0]


def test_another_tokenizer_is_refused_on_load() -> None:
    source = language_source()
    part = SourceTokens(5)
    part.bind(source, text_spec())
    described = json.loads(json.dumps(parts.describe(part)))
    parts.build("transformations", described).bind(source, text_spec())
    source.lexicon.tokenizer.tokens = source.lexicon.tokenizer.tokens[::-1]  # pyright: ignore
    with pytest.raises(UserError, match=r"put the same tokenizer back, or train again$"):
        parts.build("transformations", described).bind(source, text_spec())
    blind = CallableSource(len, InputSpec("tokens", (9,)), OutputSpec("classes", (2,)))
    with pytest.raises(UserError, match="has no tokenizer to read texts with"):
        SourceTokens(5).bind(blind, text_spec())


def test_what_a_source_takes() -> None:
    assert room(text_source()) == room(text_source().door("embeddings")) == 22  # and two marks
    assert room(text_source(brackets=False)) == 24
    image = CallableSource(len, InputSpec("image", (3, 8, 8)), OutputSpec("classes", (2,)))
    assert room(image) is None
    Characters([], 99).bind(image, text_spec())
    with pytest.raises(UserError, match=r"'length' of Words is 23; .* takes 22 tokens"):
        Words([], 23).bind(text_source(), text_spec())
    with pytest.raises(UserError, match="Words reads texts; toy is 'table'"):
        Words([], 2).bind(text_source(), TaskSpec("toy", InputSpec("table", (3,)), ("a", "b")))


def test_units_by_name() -> None:
    assert {type(learned(None, ["C"], notation=n)) for n in ("", "sequence", "smiles")} == {
        Words, KMers, SmilesTokens,
    }  # fmt: skip
    for name in UNITS:
        if name != "selfies":
            assert learned(name, ["C"]).symbols in (["C"], ["c"])
    with pytest.raises(UserError, match=r"unknown unit 'character'; did you mean 'characters'"):
        learned("character", ["C"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Words([], 0), "'length' is 0; give a number of tokens"),
        (lambda: Words(["a", "a"], 2), "'symbols' holds 'a' twice"),
        (lambda: Words([3], 2), "'symbols' holds 3 which is no string"),  # pyright: ignore
        (lambda: Characters(["ab"], 2), "'symbols' holds 'ab'; give single characters"),
        (lambda: KMers([], 2, k=0), "'k' is 0"),
        (lambda: KMers([], 2, k=3, stride=4), "'stride' is 4; give 1 to 3, or letters are lost"),
    ],
)
def test_a_bad_argument_is_named(make, said: str) -> None:
    with unchecked(), pytest.raises(UserError, match=said):
        make()
