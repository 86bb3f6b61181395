"""Published adversaries and matrices inside the published automata: `-m paper`, some minutes."""

from collections.abc import Sequence
from typing import Any

import pytest

import reprogram
from reprogram.diagnose import stability
from reprogram.program import Program
from reprogram.sources.automata.published import published_adversary, published_matrix
from reprogram.tasks.base import Split, Task

pytestmark = pytest.mark.paper


@pytest.fixture(autouse=True)
def _data(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))


def put(recipe: str, source: Any, task: Any, values: Any, **numbers: Any) -> Program:
    """The program of published values."""
    training = reprogram.recipes.find(recipe)(source, task, pool=0, **numbers)
    training.bind(task.spec)
    part: Any = training.transformation
    part.put(values)
    return training.program(task.spec)


def few(task: Task, rows: Sequence[int]) -> Split:
    """Of its test rows."""
    assert task.test is not None
    return task.test.subset(list(rows))


def by_run(rows: list[dict[str, Any]], step: int) -> dict[str, dict[str, Any]]:
    return {row["run"]: row for row in rows if row["step"] == step}


def test_a_tenth_of_the_cells_makes_the_others_say_eight():
    source = reprogram.load_source("zoo:selforg-mnist-ca")
    task = reprogram.load_task("cells:mnist?say=8")
    program = put("nca-inject", source, task, published_adversary("eight"))
    rows = stability(program, few(task, range(64)), steps=[200, 400], remove=200, batch_size=64)
    led = by_run(rows, 200)["program"]
    assert led["accuracy"] == pytest.approx(0.980, abs=0.015)
    assert led["majority"] >= 0.98
    # The reference: clean majority .89 when the adversaries are gone for 200 steps, .955 before.
    left = by_run(rows, 400)["removed"]
    assert left["like_untouched"] > 0.8
    assert left["accuracy"] < 0.25


# Mean squared errors after 200 steps, from the seed and from the grown lizard.
MATRICES = {"tail": ("lizard_no_tail", 0.00098, 0.00121), "red": ("lizard_red", 0.0053, 0.00422)}


@pytest.mark.parametrize("name", list(MATRICES))
def test_a_matrix_grows_another_lizard(name: str):
    picture, seed, grown = MATRICES[name]
    source = reprogram.load_source("zoo:lizard-ca")
    task = reprogram.load_task(f"grow:{picture}")
    program = put("nca-global", source, task, published_matrix(name))
    for start, wanted in enumerate((seed, grown)):
        rows = stability(program, few(task, [start, start + 2]), steps=[200])
        assert by_run(rows, 200)["program"]["mse"] == pytest.approx(wanted, rel=0.25)


def test_sixty_percent_turn_the_lizard_red():
    source = reprogram.load_source("zoo:lizard-ca")
    task = reprogram.load_task("grow:lizard_red")
    program = put("nca-inject", source, task, published_adversary("red_60"), share=0.6,
                  mapping="Pixels")  # fmt: skip
    rows = stability(program, few(task, [1, 3]), steps=[80, 200])
    assert by_run(rows, 80)["program"]["mse"] == pytest.approx(0.00268, rel=0.3)
    assert by_run(rows, 200)["program"]["mse"] == pytest.approx(0.00286, rel=0.4)
