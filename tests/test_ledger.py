"""Queries are counted exactly, a budget is never passed, and no answer is paid for twice."""

import threading
from pathlib import Path

import pytest
import torch
from tiny import Counted, black_box, linear_source
from torch import Tensor

from reprogram.sources import (
    BudgetSpent,
    CallableSource,
    Ledger,
    Metered,
    Restricted,
    load,
    metered,
    restricted,
)
from reprogram.sources.answers import Answers
from reprogram.types import InputSpec, OutputSpec, Scores, Tokens, UserError


def samples(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))


# --- the account ------------------------------------------------------------------------------


def test_what_becomes_of_queries_is_told_apart() -> None:
    ledger = Ledger(budget=100, price=2.0)
    for n, told in ((10, ledger.answered), (20, ledger.lost), (30, ledger.refused)):
        ledger.reserve(n)
        told(n)
    assert (ledger.queries, ledger.unanswered, ledger.spent, ledger.left) == (10, 20, 30, 70)
    assert ledger.cost == pytest.approx(0.06)


def test_reserved_and_kept_queries_are_not_left() -> None:
    ledger = Ledger(budget=10)
    ledger.reserve(4)
    with ledger.keeping(5):
        assert ledger.left == 1
        with pytest.raises(BudgetSpent, match="2 more queries would pass the budget of 10"):
            ledger.reserve(2)
        assert ledger.left == 1
    assert ledger.left == 6


def test_threads_do_not_pass_the_budget() -> None:
    ledger, refused = Ledger(budget=500), []

    def spend() -> None:
        for _ in range(200):
            try:
                ledger.reserve(3)
            except BudgetSpent:
                refused.append(1)
            else:
                ledger.answered(3)

    threads = [threading.Thread(target=spend) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert ledger.spent == 498
    assert len(refused) == 8 * 200 - 498 // 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"budget": -1}, "'budget' is -1; give a number of queries"),
        ({"price": -0.5}, "'price' is -0.5"),
        ({"price": float("nan")}, "'price' is nan"),
    ],
)
def test_a_bad_account_is_refused(arguments: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Ledger(**arguments)


# --- the source behind it ---------------------------------------------------------------------


@pytest.mark.parametrize("scores", list(Scores))
def test_a_metered_source_is_the_source(scores: Scores) -> None:
    source = black_box(linear_source(), scores)
    counted = metered(source)
    x = samples(9)
    assert torch.equal(counted(x), source(x))
    assert counted.fingerprint() == source.fingerprint()
    same = ("gradient", "scores", "input", "output", "uri", "open", "vocabulary")
    assert [getattr(counted, name) for name in same] == [getattr(source, name) for name in same]
    assert counted.ledger.spent == 9
    assert counted(samples(0)).shape == (0, 7)


def test_a_gradient_passes_and_is_counted() -> None:
    source = metered(linear_source())
    x = samples(5).requires_grad_()
    source(x).sum().backward()
    assert x.grad is not None
    assert source.ledger.spent == 5


def test_features_and_doors_share_the_account() -> None:
    source = metered(load("zoo:speech-commands"))
    assert source.features(torch.zeros(2, 16000)) is not None
    source.door("log-mel")(torch.zeros(3, 125, 80))
    assert source.ledger.spent == 5
    opaque = metered(black_box(linear_source()))
    assert opaque.features(samples(4)) is None
    assert opaque.ledger.spent == 0


def test_a_budget_is_stopped_at_before_it_is_passed() -> None:
    inner = black_box(linear_source())
    calls = Counted(inner)
    source = Metered(inner, Ledger(budget=10))
    source(samples(8))
    with pytest.raises(BudgetSpent):
        source(samples(3))
    assert sum(calls.rows) == source.ledger.spent == 8
    source(samples(2))


def test_a_source_that_fails_is_not_paid() -> None:
    def fail(x: Tensor) -> Tensor:
        raise RuntimeError("no answer")

    spec = InputSpec("table", (2,)), OutputSpec("classes", (7,))
    source = Metered(CallableSource(fail, *spec), Ledger(budget=10))
    with pytest.raises(RuntimeError):
        source(samples(8))
    assert (source.ledger.spent, source.ledger.left) == (0, 10)


# --- answers on disk --------------------------------------------------------------------------


@pytest.mark.parametrize("scores", list(Scores))
def test_no_answer_is_paid_for_twice(scores: Scores, tmp_path: Path) -> None:
    inner = black_box(linear_source(), scores)
    calls = Counted(inner)
    source = metered(inner)
    source.remember(tmp_path / "answers.sqlite", "run")
    x = torch.cat([samples(6), samples(6)])  # each twice
    first = source(x)
    assert torch.equal(first, inner(x))
    asked = sum(calls.rows) - 12
    assert asked == source.ledger.spent == 6
    assert source.ledger.recalled == 6
    assert torch.equal(source(torch.cat([x[3:5], samples(2, seed=1)])), source(
        torch.cat([x[3:5], samples(2, seed=1)])))  # fmt: skip
    assert source.ledger.spent == 8


def test_another_process_goes_on_with_the_same_account(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    first = metered(black_box(linear_source()))
    first.remember(file, "run")
    told = first(samples(6))
    again = metered(black_box(linear_source()))
    again.remember(file, "run")
    assert again.ledger.spent == 6
    assert torch.equal(again(samples(6)), told)
    assert (again.ledger.spent, again.ledger.recalled) == (6, 6)
    other = metered(black_box(linear_source()))
    other.remember(file, "another run")
    other(samples(6))
    assert (other.ledger.spent, other.ledger.recalled) == (0, 6)


def test_doors_share_a_cache_and_no_answers(tmp_path: Path) -> None:
    source = metered(load("zoo:speech-commands?access=label"))
    source.remember(tmp_path / "answers.sqlite", "run")
    for _ in range(2):
        source(torch.zeros(1, 16000))
        source.door("log-mel")(torch.zeros(1, 125, 80))
    assert (source.ledger.spent, source.ledger.recalled) == (2, 2)


def test_sources_in_one_file_do_not_answer_for_each_other(tmp_path: Path) -> None:
    for i, scores in enumerate((Scores.LOGITS, Scores.LABEL)):
        source = metered(black_box(linear_source(), scores))
        source.remember(tmp_path / "answers.sqlite", str(i))
        source(samples(3))
        assert source.ledger.spent == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 4), (2,)])
def test_answers_come_back_bit_for_bit(
    dtype: torch.dtype, shape: tuple[int, ...], tmp_path: Path
) -> None:
    output = torch.randn(shape, dtype=dtype)
    keys = [bytes([i]) for i in range(len(output))]
    Answers(tmp_path / "a.sqlite", "r").put(keys, output, Ledger())
    found = Answers(tmp_path / "a.sqlite", "r").get([b"unknown", *keys])
    assert sorted(found) == list(range(1, len(keys) + 1))
    back = torch.stack([found[i + 1] for i in range(len(keys))])
    assert torch.equal(back, output)
    assert back.dtype == dtype


@pytest.mark.parametrize("damage", ["noise", "folder", "missing parent is a file"])
def test_a_cache_that_cannot_be_used_is_named(damage: str, tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    if damage == "noise":
        file.write_bytes(bytes(range(256)) * 20)
    elif damage == "folder":
        file.mkdir()
    else:
        (tmp_path / "x").write_text("")
        file = tmp_path / "x" / "answers.sqlite"
    with pytest.raises(UserError, match="cannot be used") as caught:
        metered(black_box(linear_source())).remember(file, "run")
    assert "\n" not in str(caught.value)


def test_a_cache_that_breaks_on_the_way_is_named(tmp_path: Path) -> None:
    source = metered(black_box(linear_source()))
    source.remember(tmp_path / "answers.sqlite", "run")
    assert source.answers is not None
    source.answers.database.execute("DROP TABLE answers")
    with pytest.raises(UserError, match="cannot be used") as caught:
        source(samples(3))
    assert "\n" not in str(caught.value)


def test_processes_that_share_a_cache_wait_for_each_other(tmp_path: Path) -> None:
    file = tmp_path / "answers.sqlite"
    one, other = Answers(file, "one"), Answers(file, "other")
    one.database.execute("BEGIN IMMEDIATE")

    def write() -> None:
        Answers(file, "third").put([b"k"], torch.ones(1, 2), Ledger())

    waiting = threading.Thread(target=write)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    one.database.execute("COMMIT")
    waiting.join(30)
    assert list(other.get([b"k"])) == [0]


def test_keys_tell_samples_and_tokens_apart() -> None:
    source = linear_source()
    x = samples(4)
    assert source.keys(x) == source.keys(x.clone())
    assert len(set(source.keys(x))) == 4
    ids, mask = torch.tensor([[1, 2], [1, 2], [2, 1]]), torch.ones(3, 2)
    tokens = Tokens(ids, mask, torch.tensor([0, 1, 0]))
    assert len(set(source.keys(tokens))) == 3  # read at other positions
    assert len(set(source.keys(tokens._replace(position=None)))) == 2


# --- less than it knows -----------------------------------------------------------------------


@pytest.mark.parametrize("scores", list(Scores))
def test_a_restricted_source_is_the_callable_of_that_access(scores: Scores) -> None:
    source, x = linear_source(), samples(20)
    told = Restricted(source, scores, k=2 if scores == Scores.TOP_K else None)
    assert torch.allclose(told(x), black_box(source, scores)(x).float(), atol=1e-5)
    assert not told.gradient
    assert told.scores == scores
    assert told.fingerprint() != source.fingerprint()
    ((index, output),) = told.ask(x, Ledger())
    assert torch.equal(output, told(x)[index])


@pytest.mark.parametrize("access", ["label", "topk", "topk:3", "probabilities", "logits"])
def test_an_access_stands_in_the_uri(access: str) -> None:
    source = load(f"zoo:speech-commands?access={access}#log-mel")
    assert source.input.shape == (125, 80)
    again = load(str(source.uri))
    assert again.fingerprint() == source.fingerprint()
    assert again.uri == source.uri
    x = torch.randn(3, 125, 80)
    assert torch.equal(again(x), source(x))
    assert torch.isfinite(source(x)).all()
    assert source.randomised(1).scores == source.scores


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("zoo:images?access=all", "access 'all' is unknown; write label, topk"),
        ("zoo:images?access=label:3", "access 'label:3' is unknown"),
        ("zoo:images?access=topk:0", "the top 0 of 10 source classes"),
        ("zoo:images?access=topk:11", "the top 11 of 10 source classes"),
        ("zoo:images?access=label&access=topk", "'access' stands twice"),
        ("zoo:images?adapter=x.json", "takes no adapter"),
    ],
)
def test_a_bad_access_is_named(uri: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load(uri)
    assert "\n" not in str(caught.value)


def test_nobody_gets_more_than_the_source_tells() -> None:
    with pytest.raises(UserError, match="tells LABEL, which is less than PROBABILITIES"):
        restricted(black_box(linear_source(), Scores.LABEL), "probabilities")
