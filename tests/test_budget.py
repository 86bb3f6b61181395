"""What a run says that it will spend is what it spends; a budget ends it in good order."""

from __future__ import annotations

import csv
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import Counted, black_box, series_task, speech_source
from torch import Tensor

from reprogram.mappings import Bayesian, Discriminant, Fixed, Frequency, Iterative, Linear
from reprogram.optim import CMAES, SPSA, Backprop
from reprogram.plan import Costs, Plan
from reprogram.sources import BudgetSpent, Ledger, Metered, Source
from reprogram.train import Training, fit
from reprogram.transformations import SeriesToFeatures
from reprogram.types import UserError

ADAM = partial(torch.optim.Adam, lr=0.02)
ROWS, VALIDATION, TEST = 20, 30, 12  # of tiny.series_task


def a_training(source: Source | None = None, **settings: Any) -> Training:
    """20 samples in batches of 8: three steps an epoch, of 8, 8 and 4 samples."""
    return Training(**{
        "source": source or black_box(speech_source().door("features")),
        "transformation": SeriesToFeatures(width=3),
        "mapping": Frequency(),
        "optimizer": SPSA(ADAM, c=0.05, directions=2),
        "epochs": 3,
        "batch_size": 8,
        **settings,
    })  # fmt: skip


MAPPINGS = {
    "fixed": Fixed, "frequency": Frequency, "iterative": Iterative,
    "fresh": lambda: Iterative(fresh_pass=True),
    "bayesian": lambda: Bayesian(fresh_pass=True), "discriminant": Discriminant,
    "linear": Linear, "solved": lambda: Linear(start="discriminant"),
}  # fmt: skip
OPTIMIZERS = {
    "spsa": lambda: SPSA(ADAM, c=0.05, directions=2),
    "calibrated": lambda: SPSA(ADAM, directions=2),
    "cma-es": CMAES,
}


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("limits", [{}, {"validations": 2}, {"queries": 400}, {"epochs": 1}])
def test_the_plan_is_what_is_spent(mapping: str, optimizer: str, limits: dict[str, Any]) -> None:
    training = a_training(mapping=MAPPINGS[mapping](), optimizer=OPTIMIZERS[optimizer](), **limits)
    counted = Counted(training.source)
    plans: list[Plan] = []
    program = fit(training, series_task(), quote=plans.append)
    assert program.metrics["queries"] == sum(counted.rows) == plans[0].total
    assert plans[0].test == TEST
    assert plans[0].validation % VALIDATION == 0
    assert plans[0].training + plans[0].validation <= limits.get("queries", 1e9)


def test_a_white_box_is_planned_too() -> None:
    plans: list[Plan] = []
    training = a_training(speech_source().door("features"), optimizer=Backprop(ADAM))
    program = fit(training, series_task(), quote=plans.append)
    assert program.metrics["queries"] == plans[0].total
    assert plans[0].train == ROWS


def test_a_white_box_keeps_within_a_budget_too(tmp_path: Path) -> None:
    plans: list[Plan] = []
    source = Metered(speech_source().door("features"), Ledger(budget=300))
    training = a_training(source, optimizer=Backprop(ADAM), epochs=50)
    fit(training, series_task(), tmp_path / "run", quote=plans.append)
    assert source.ledger.spent == plans[0].total <= 300


@pytest.mark.parametrize("validations", [None, 1, 3])
def test_the_most_steps_that_can_be_paid_are_taken(validations: int | None) -> None:
    costs = Costs(20, 8, 6, 4, 2, (0, 1, 1, 1, 1, 1, 1), 30, validations, True, 12)
    spent = [costs.training(n) + costs.choosing(n) for n in range(19)]
    assert spent == sorted(spent)
    for limit in range(0, spent[-1] + 20, 7):
        steps = costs.affordable(limit)
        assert steps == 0 or spent[steps] <= limit
        assert steps == 18 or spent[steps + 1] > limit
    assert costs.training(18) == 6 * 20 * 4 + 8 * 2 + 20  # steps, calibration, one pass


@pytest.mark.parametrize("validations", [None, 1, 2, 5, 50])
@pytest.mark.parametrize("steps", [1, 3, 7, 12])
def test_the_last_step_is_validated(validations: int | None, steps: int) -> None:
    marks = Costs(20, 8, 9, 4, 0, (0,) * 10, 30, validations, True, 0).marks(steps)
    assert max(marks) == steps
    assert min(marks) >= 1
    assert len(marks) <= (validations or steps)


@pytest.mark.parametrize("budget", [300, 401, 555, 700])
def test_a_run_ends_within_its_budget(budget: int, tmp_path: Path) -> None:
    source = Metered(black_box(speech_source().door("features")), Ledger(budget=budget, price=2.0))
    counted = Counted(source.source)
    plans: list[Plan] = []
    program = fit(a_training(source, epochs=50), series_task(), tmp_path / "run",
                  quote=plans.append)  # fmt: skip
    assert sum(counted.rows) == source.ledger.spent == plans[0].total <= budget
    assert 0 < plans[0].steps < plans[0].wanted
    assert "the limit allows no more" in str(plans[0])
    assert program.metrics["test"]
    assert program.metrics["cost"] == pytest.approx(source.ledger.spent * 0.002)
    with (tmp_path / "run/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["queries"]) + TEST == source.ledger.spent


@pytest.mark.parametrize(("budget", "left"), [(0, 0), (50, 38), (130, 118)])
def test_a_budget_for_no_step_is_refused_before_it_is_touched(
    budget: int, left: int, tmp_path: Path
) -> None:
    source = Metered(black_box(speech_source().door("features")), Ledger(budget=budget))
    # 32 evaluations, 20 for the mapping, 30 before and 30 after
    said = f"takes 112 queries, and the budget of {budget} leaves {left}"
    if left >= 112:
        fit(a_training(source), series_task(), tmp_path / "run")
        return
    with pytest.raises(UserError, match=said):
        fit(a_training(source), series_task(), tmp_path / "run")
    assert source.ledger.spent == 0
    assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="and argument 'queries' allows 50"):
        fit(a_training(queries=50), series_task())


def test_queries_for_controls_are_left() -> None:
    source = Metered(black_box(speech_source().door("features")), Ledger(budget=600))
    plans: list[Plan] = []
    fit(a_training(source, epochs=50), series_task(), after=62, quote=plans.append)
    assert plans[0].controls == 62
    assert source.ledger.left >= 62


class Leaky(Metered):
    """Every call costs as much again in answers that are lost; those of test if it says so."""

    test = False

    def forward(self, x: Tensor) -> Tensor:
        if self.test or len(x) != TEST:
            self.ledger.reserve(len(x))
            self.ledger.lost(len(x))
        return super().forward(x)


@pytest.mark.parametrize("budget", [300, 400, 500])
def test_lost_answers_shorten_the_run_and_leave_the_measuring(budget: int) -> None:
    source = Leaky(black_box(speech_source().door("features")), Ledger(budget=budget))
    task = series_task()
    ended = fit(a_training(source, epochs=50), task)
    assert source.ledger.spent <= budget
    assert ended.metrics["test"]


def test_a_broken_run_pays_for_nothing_twice(tmp_path: Path) -> None:
    """Not even without a checkpoint of the loop: the answers are there from the first query."""
    task = series_task()
    whole = fit(a_training(), task, tmp_path / "whole")

    class Stop(Exception):
        pass

    for at in (1, 4, 8):
        folder, runs = tmp_path / str(at), []

        def stop(report, at: int = at) -> None:
            if report.step == at:
                raise Stop

        inner = black_box(speech_source().door("features"))
        counted = Counted(inner)
        with pytest.raises(Stop):
            fit(a_training(inner), task, folder, progress=stop)
        assert not (folder / "checkpoint/state.pt").exists()
        resumed = fit(a_training(inner), task, folder, resume=True,
                      progress=lambda p, runs=runs: runs.append(p.step))  # fmt: skip
        assert runs[0] == 1
        assert sum(counted.rows) == resumed.metrics["queries"] == whole.metrics["queries"]
        assert {p.name for p in folder.iterdir()} == {
            p.name for p in (tmp_path / "whole").iterdir()
        }
        for name, tensor in whole.tensors().items():
            assert torch.equal(resumed.tensors()[name], tensor)


@pytest.mark.parametrize("at", [1, 4, 11])
def test_a_tight_budget_does_not_cut_a_resumed_run_short(at: int, tmp_path: Path) -> None:
    """Steps that are repeated from answers cost nothing, though little may be left."""
    task = series_task()

    def source(fails: int | None = None) -> Metered:
        inner, calls = black_box(speech_source().door("features")), []

        def fail(*_: Any) -> None:
            calls.append(1)
            if len(calls) == fails:
                raise UserError("the source is gone")

        inner.register_forward_pre_hook(fail)
        return Metered(inner, Ledger(budget=500))

    whole = fit(a_training(source(), epochs=50), task, tmp_path / "whole")
    first = source(fails=2 + at)  # after the mapping's pass and the first validation
    with pytest.raises(UserError, match="is gone"):
        fit(a_training(first, epochs=50), task, tmp_path / "run")
    assert first.ledger.left == 500 - first.ledger.spent  # nothing is kept back any more
    again = source()
    resumed = fit(a_training(again, epochs=50), task, tmp_path / "run", resume=True)
    assert resumed.metrics["queries"] == whole.metrics["queries"] == again.ledger.spent <= 500
    for name, tensor in whole.tensors().items():
        assert torch.equal(resumed.tensors()[name], tensor)


def test_a_cache_that_cannot_be_used_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        fit(a_training(), series_task(), tmp_path / "run", cache=tmp_path,
            beside={"run.json": "{}"})  # fmt: skip
    assert not (tmp_path / "run").exists()


def test_a_cache_of_ones_own_serves_resumed_and_new_runs(tmp_path: Path) -> None:
    task, cache = series_task(), tmp_path / "answers.sqlite"
    whole = fit(a_training(), task)

    def stop(report) -> None:
        if report.step == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fit(a_training(), task, tmp_path / "run", progress=stop, cache=cache)
    plans: list[Plan] = []
    inner = black_box(speech_source().door("features"))
    counted = Counted(inner)
    resumed = fit(a_training(inner), task, tmp_path / "run", resume=True, cache=cache,
                  quote=plans.append)  # fmt: skip
    assert resumed.metrics["queries"] == whole.metrics["queries"] == plans[0].total
    assert 0 < sum(counted.rows) < plans[0].total
    shutil.rmtree(tmp_path / "run")  # the same folder again is another run
    again = fit(a_training(inner), task, tmp_path / "run", cache=cache)
    assert again.metrics["queries"] == 0
    assert again.metrics["recalled"] == plans[0].total


def test_a_budget_may_be_raised_and_the_plan_stays(tmp_path: Path) -> None:
    source = Leaky(black_box(speech_source().door("features")), Ledger(budget=240))
    source.test = True
    with pytest.raises(BudgetSpent):
        fit(a_training(source, epochs=50), series_task(), tmp_path / "run")
    assert source.ledger.spent <= 240
    more = Metered(black_box(speech_source().door("features")), Ledger(budget=1000))
    done = fit(a_training(more, epochs=50), series_task(), tmp_path / "run", resume=True)
    assert done.metrics["test"]
    assert done.metrics["queries"] <= 240 + TEST
