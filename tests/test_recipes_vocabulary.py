"""Recipes that write in the vocabulary of a language model: white box, black box, saved, folded."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_text import text_source, text_task

from reprogram import Program, parts, recipes
from reprogram.optim import Backprop, ScoreFunction
from reprogram.sources import Source
from reprogram.sources.restricted import restricted
from reprogram.texts import encode
from reprogram.train import fit
from reprogram.transformations import (
    Characters,
    FreeRows,
    GumbelRows,
    KMers,
    SelfiesTokens,
    SmilesTokens,
    SparseRows,
    Words,
)
from reprogram.types import UserError

TASK = text_task()
NAMES = ("vocab-remap", "r2dl")
ROWS = ("FreeRows(start='copies')", "DenseRows", "LowRankRows(rank=3)", "SparseRows(every=2)",
        "PrototypeRows(prototypes=8)", "GumbelRows(context=1)")  # fmt: skip


def composed(name: str, source: Source | None = None, **numbers: Any) -> Any:
    numbers = {"units": "characters", "epochs": 6, "batch_size": 16, **numbers}
    return recipes.find(name)(source or text_source(), TASK, **numbers)


def parts_of(training: Any) -> list[Any]:
    return list(training.transformation.parts)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_letters_and_comes_back_from_disk(name: str, tmp_path: Path) -> None:
    training = composed(name, epochs=6, learning_rate=0.2)
    program = fit(training, TASK)
    assert program.metrics["validation"]["accuracy"] > 0.6  # of three classes
    assert program.metrics["source_unchanged"]
    assert program.metrics["read"]["train"]["unknown"] == 0
    program.save(tmp_path / "run")
    again = Program.load(tmp_path / "run", training.source)
    x = encode(["ACGT", "TTTTTTTTTTTTTTTTTTTT", "x"], TASK.spec.input.shape[0])
    assert torch.equal(again.predict(x).scores, program.predict(x).scores)


@pytest.mark.parametrize("rows", ROWS)
def test_the_table_may_be_made_in_any_way(rows: str) -> None:
    program = fit(composed("r2dl", rows=rows, epochs=1), TASK)
    folded, x = program.transformation.folded(), TASK.test.inputs  # pyright: ignore
    prepared = program.transformation.prepare(x)
    source = program.source
    with torch.no_grad():
        torch.testing.assert_close(
            source(folded.eval()(prepared)), source(program.transformation.eval()(prepared))
        )


@pytest.mark.parametrize("access", ["label", "probabilities", "logits"])
def test_a_black_box_is_asked_for_answers_alone(access: str) -> None:
    source = restricted(text_source(), access)
    training = composed("vocab-remap", source, epochs=1)
    assert isinstance(training.optimizer, ScoreFunction) and training.optimizer.samples == 4
    assert training.source.input.kind == "tokens"
    program = fit(training, TASK)
    assert program.metrics["queries"] == 4 * len(TASK.train) + 2 * len(TASK.validation) + len(
        TASK.test  # pyright: ignore
    )
    for told in program.tensors():
        assert "dictionary" not in told and "embeddings" not in told


def test_the_door_and_the_optimizer_follow_the_source() -> None:
    white = composed("vocab-remap")
    assert isinstance(white.optimizer, Backprop) and white.source.input.kind == "embeddings"
    drawn = composed("vocab-remap", optimizer="ScoreFunction(samples=3)", epochs=1)
    assert fit(drawn, TASK).metrics["source_unchanged"]  # tokens are drawn at this door, too
    with pytest.raises(UserError, match="needs a gradient"):
        composed("vocab-remap", restricted(text_source(), "label"), optimizer="Backprop")


def test_units_follow_the_notation() -> None:
    for notation, kind in (("", Words), ("sequence", KMers), ("smiles", SmilesTokens)):
        task = text_task(notation=notation)  # pyright: ignore
        for name in NAMES:
            assert type(parts_of(recipes.find(name)(text_source(), task))[0]) is kind
    for units, kind in (("characters", Characters), ("2-mers", KMers), ("words", Words)):
        assert type(parts_of(composed("r2dl", units=units))[0]) is kind
    if importlib.util.find_spec("selfies"):
        assert isinstance(learned_selfies(), SelfiesTokens)


def learned_selfies() -> Any:
    from reprogram.transformations.tokens.units import learned

    return learned("selfies", ["CC"])


def test_numbers_reach_their_parts() -> None:
    reader, rows, *_ = parts_of(composed("r2dl", atoms=3, length=5, least=2, seed=4))
    assert (rows.atoms, rows.seed, reader.length) == (3, 4, 5)
    assert isinstance(rows, SparseRows)
    other = parts_of(composed("r2dl", rows="FreeRows(start='copies')", seed=4))[1]
    assert isinstance(other, FreeRows) and (other.start, other.seed) == ("copies", 4)
    rows = parts_of(composed("vocab-remap", context=3, rank=2, hottest=1.0, annealed=0.2))[1]
    assert isinstance(rows, GumbelRows)
    assert (rows.context, rows.rank, rows.hottest, rows.annealed) == (3, 2, 1.0, 0.2)
    described = parts.describe(composed("vocab-remap").transformation)
    assert json.loads(json.dumps(described)) == described


def test_a_text_longer_than_the_source_takes_is_cut_and_counted() -> None:
    task = text_task()
    long = recipes.find("r2dl")(text_source(), task, units="characters")
    assert parts_of(long)[0].length == 8
    with pytest.raises(UserError, match=r"'length' of Characters is 30; .* takes 22 tokens"):
        fit(composed("r2dl", length=30), TASK)
    program = fit(composed("r2dl", length=4, epochs=1), TASK)
    read = program.metrics["read"]
    assert 0 < read["train"]["cut"] < len(TASK.train)
    assert read["test"]["tokens"] == 4 * len(TASK.test)  # pyright: ignore


def test_the_benchmarks_two_forms_say_the_same() -> None:
    file = Path(__file__).parent.parent / "benchmarks" / "vocabulary.py"
    spec = importlib.util.spec_from_file_location("vocabulary_benchmark", file)
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 31, (3, 17), generator=generator)
    table = torch.randn(5, 30, 40, generator=generator)
    difference = benchmark.dense(table, ids) - benchmark.gathered(table, ids)
    assert difference.abs().max() < 1e-5
