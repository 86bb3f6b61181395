"""Mappings that observe, inside the one loop."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import Counted, image_source, image_task

from reprogram.mappings import Bayesian, Discriminant, Frequency, Iterative, Logistic, Mapping
from reprogram.optim import Backprop
from reprogram.program import Program
from reprogram.train import Training, fit
from reprogram.transformations import Compose, Frame, Resize

OBSERVING: dict[str, Callable[[], Mapping]] = {
    "Frequency": Frequency,
    "Iterative": Iterative,
    "Iterative fresh": lambda: Iterative(fresh_pass=True),
    "Bayesian": Bayesian,
    "Bayesian top": lambda: Bayesian(top=2, fresh_pass=True),
    "Discriminant": Discriminant,
    "Logistic": lambda: Logistic(every=2),
}
EPOCHS = 3


@pytest.fixture(params=OBSERVING, name="make")
def _make(request) -> Callable[[], Mapping]:
    return OBSERVING[request.param]


def a_training(mapping: Mapping, *, lr: float = 0.05, keep_best: bool = True) -> Training:
    source = image_source()
    return Training(
        source, Compose([Resize(16), Frame()]), mapping,
        Backprop(partial(torch.optim.Adam, lr=lr)), epochs=EPOCHS, batch_size=7,
        keep_best=keep_best,
    )  # fmt: skip


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_resumed_run_is_an_unbroken_one(make, at: int, tmp_path: Path) -> None:
    whole = fit(a_training(make()), image_task(), tmp_path / "whole")

    def stop(progress) -> None:
        if progress.step == at:
            raise Stopped

    with pytest.raises(Stopped):
        fit(a_training(make()), image_task(), tmp_path / "run", progress=stop,
            checkpoint_seconds=0)  # fmt: skip
    resumed = fit(a_training(make()), image_task(), tmp_path / "run", resume=True)
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, resumed.tensors()[name]), name
    assert whole.metrics["queries"] == resumed.metrics["queries"]


def test_at_learning_rate_0_a_fresh_pass_finds_the_same_map() -> None:
    for streaming, fresh in (
        (Iterative(), Iterative(fresh_pass=True)),
        (Bayesian(), Bayesian(fresh_pass=True)),
        (Bayesian(top=2), Bayesian(top=2, fresh_pass=True)),
    ):
        for mapping in (streaming, fresh):
            fit(a_training(mapping, lr=0.0, keep_best=False), image_task())
        torch.testing.assert_close(streaming.table(), fresh.table())


@pytest.mark.parametrize(
    ("make", "passes"),
    [(Frequency, 1), (Iterative, 1), (lambda: Iterative(fresh_pass=True), EPOCHS)],
)
def test_a_pass_for_the_map_is_counted_as_queries(make, passes: int) -> None:
    task = image_task()
    training = a_training(make())
    counted = Counted(training.source)
    program = fit(training, task)
    rows = len(task.train)
    fixed = EPOCHS * rows  # the steps
    measured = rows + len(task.test or ()) + EPOCHS * len(task.validation or ())
    assert program.metrics["queries"] == fixed + passes * rows + measured == sum(counted.rows)


def test_a_saved_map_is_loaded_and_its_counts_are_not_in_it(make, tmp_path: Path) -> None:
    training = a_training(make())
    program = fit(training, image_task(), tmp_path / "run")
    held = load_file(tmp_path / "run" / "program.safetensors")
    assert not any("counts" in name or "square" in name or "inverse" in name for name in held)
    again = Program.load(tmp_path / "run", training.source)
    x = image_task().test.batch(torch.arange(5))[0]
    assert torch.equal(again.predict(x).scores, program.predict(x).scores)


def test_the_map_of_the_kept_epoch_is_saved() -> None:
    """Of an epoch that is worse than the first, neither pattern nor map is kept."""
    mapping = Iterative()
    maps = []
    refit = mapping.refit

    def remember() -> None:
        refit()
        maps.append(mapping.index.clone())

    mapping.refit = remember
    training = a_training(mapping, lr=50.0)
    program = fit(training, image_task())
    assert len(maps) == EPOCHS
    assert any(torch.equal(program.tensors()["mapping.index"], found) for found in maps)
