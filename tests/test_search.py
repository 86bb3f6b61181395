"""Choices read validation and never test."""

import dataclasses

import pytest
import torch
from torch import nn

from reprogram.search import Candidate, choose, validate
from reprogram.sources import TorchSource
from reprogram.tasks import make_task
from reprogram.types import InputSpec, OutputSpec, UserError


class Mean(nn.Module):
    def forward(self, x):
        return torch.stack([x.mean((1, 2)), -x.mean((1, 2)), x.std((1, 2))], 1) * 5


def source() -> TorchSource:
    spec = InputSpec("features", (8, 4), rate=8)
    return TorchSource(Mean(), OutputSpec("classes", (3,)), input=spec)


def task(rows: int):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(rows) % 2
    x = torch.randn(rows, 1, 12, generator=generator) + (2.0 * labels - 1)[:, None, None]
    return make_task("toy", "series", (x, labels.tolist()), seed=0)


GOOD = Candidate("series-to-features", {"epochs": 12, "learning_rate": 0.05})
IDLE = Candidate("series-to-features", {"epochs": 1, "learning_rate": 1e-9})


@pytest.mark.parametrize("rows", [40, 300])
def test_the_better_candidate_is_chosen_with_and_without_a_validation_split(rows):
    toy = task(rows)
    assert (toy.validation is None) == (rows == 40)
    told = []
    best = choose([IDLE, GOOD], source(), toy, folds=3, tell=lambda *a: told.append(a))
    assert best == GOOD
    assert [candidate for candidate, _ in told] == [IDLE, GOOD]


def test_test_rows_do_not_matter():
    toy = task(60)
    spoiled = dataclasses.replace(toy, test=None)
    assert validate(GOOD, source(), toy, folds=3) == validate(GOOD, source(), spoiled, folds=3)


def test_a_fold_is_measured_at_the_last_epoch_as_the_final_fit_is(monkeypatch):
    import importlib

    module = importlib.import_module("reprogram.search.choose")
    kept = []
    real = module.fit
    monkeypatch.setattr(module, "fit", lambda t, p: (kept.append(t.keep_best), real(t, p))[1])
    validate(IDLE, source(), task(40), folds=2)
    validate(IDLE, source(), task(300), folds=2)
    assert kept == [False, False, True]


def test_nothing_to_choose_from_is_an_error():
    with pytest.raises(UserError, match="candidates"):
        choose([], source(), task(40))
