"""The one loop: it learns, keeps the best epoch, counts, and goes on where it was stopped."""

import csv
import dataclasses
import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny import Counted, black_box, image_source, image_task, series_task, speech_source
from torch import Tensor
from typechecker import unchecked

from reprogram import optim
from reprogram.criteria import CrossEntropy
from reprogram.evaluation import evaluate
from reprogram.mappings import Linear, ManyToOne
from reprogram.optim import CMAES, SPSA, Backprop
from reprogram.tasks.base import Task
from reprogram.train import Training, fit
from reprogram.transformations import Compose, Frame, PadSeries, Resize, SeriesToFeatures
from reprogram.types import UserError

SPSA_ADAM = partial(SPSA, partial(torch.optim.Adam, lr=0.02), directions=2)


def a_training(optimizer: Any = None, *, opaque: bool = False, **settings: Any) -> Training:
    """20 samples in batches of 8: three steps an epoch."""
    source = speech_source().door("features")
    return Training(**{
        "source": black_box(source) if opaque else source,
        "transformation": SeriesToFeatures(width=3, dropout=0.2),
        "mapping": Linear(),
        "optimizer": optimizer or Backprop(partial(torch.optim.Adam, lr=0.02)),
        "epochs": 2,
        "batch_size": 8,
        "parameters": {"width": 3},
        **settings,
    })  # fmt: skip


def tensors(program) -> dict[str, Tensor]:
    return {name: t.detach().clone() for name, t in program.tensors().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


# --- it learns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "opaque"),
    [(None, False), (SPSA_ADAM(), True), (CMAES(sigma=0.2, population=6), True)],
)
def test_the_loss_falls_and_the_source_stays(optimizer: Any, opaque: bool) -> None:
    training = a_training(optimizer, opaque=opaque, epochs=25)
    fingerprint = training.source.fingerprint()
    losses = []
    program = fit(training, series_task(), progress=lambda p: losses.append(p.loss))
    assert sum(losses[-6:]) < 0.8 * sum(losses[:6])
    assert evaluate(program, series_task().train)["accuracy"] > 0.5
    assert ("train" in program.metrics) == (not opaque)  # it would cost queries
    assert program.metrics["source_unchanged"]
    assert training.source.fingerprint() == fingerprint


def test_images_learn_too() -> None:
    training = Training(
        image_source(), Compose([Resize(16), Frame()]), Linear(),
        Backprop(partial(torch.optim.Adam, lr=0.05)), epochs=15, batch_size=10,
    )  # fmt: skip
    program = fit(training, image_task())
    assert program.metrics["test"]["accuracy"] > 0.6


def test_metrics_are_those_of_the_program() -> None:
    task = series_task()
    program = fit(a_training(), task)
    for name in ("train", "validation", "test"):
        split = getattr(task, name)
        assert program.metrics[name] == pytest.approx(evaluate(program, split))
        labels = program.predict(split.inputs).labels
        right = [a == "xyz"[b] for a, b in zip(labels, split.targets.tolist(), strict=True)]
        assert program.metrics[name]["accuracy"] == pytest.approx(sum(right) / len(right))
    assert program.metrics["parameters"] == 3 * 4 + 4 + 7 * 3 + 3
    json.dumps(program.metrics)


def test_the_same_seed_is_the_same_run() -> None:
    runs = [tensors(fit(a_training(seed=s), series_task())) for s in (1, 1, 2)]
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_global_generators_are_left_alone(tmp_path: Path) -> None:
    for optimizer in (None, SPSA_ADAM(), CMAES(population=4)):
        torch.manual_seed(5), np.random.seed(5), random.seed(5)
        before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # pyright: ignore
        folder = tmp_path / type(optimizer).__name__
        with unchecked():  # the check itself draws random numbers
            fit(a_training(optimizer), series_task(), folder, checkpoint_seconds=0)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])  # pyright: ignore
        assert random.getstate() == before[2]


def test_the_epoch_of_lowest_validation_loss_is_kept() -> None:
    rate = partial(torch.optim.SGD, lr=1.5, momentum=0.9)  # so high that losses jump
    training = a_training(Backprop(rate), epochs=8)
    epochs: list[tuple[float, dict[str, Tensor]]] = []

    def note(p) -> None:
        if p.step % 3 == 0:
            epochs.append((p.validation["loss"], tensors(training.program(task.spec))))

    task = series_task()
    program = fit(training, task, progress=note)
    losses = [loss for loss, _ in epochs]
    best = losses.index(min(losses))
    assert 0 < best < 7 or losses[-1] > min(losses)
    assert equal(tensors(program), epochs[best][1])
    assert program.metrics["validation"]["loss"] == pytest.approx(min(losses))


@pytest.mark.parametrize("task", [series_task(validation=0), series_task()])
def test_without_validation_the_last_epoch_is_kept(task: Task) -> None:
    training = a_training(epochs=2, keep_best=task.validation is None)
    last: list[dict[str, Tensor]] = []

    def note(_) -> None:
        last.append(tensors(training.program(task.spec)))

    program = fit(training, task, progress=note)
    assert equal(tensors(program), last[-1])
    assert ("validation" in program.metrics) == (task.validation is not None)


def test_test_rows_have_no_say() -> None:
    task = series_task()
    assert task.test is not None
    other = dataclasses.replace(task, test=task.test.subset([3, 1]))
    assert equal(tensors(fit(a_training(), task)), tensors(fit(a_training(), other)))
    assert "test" not in fit(a_training(), dataclasses.replace(task, test=None)).metrics


def test_rows_without_a_label_are_ignored() -> None:
    task = series_task()
    few = dataclasses.replace(task.train, weights=torch.tensor([1.0] * 16 + [0.0] * 4))
    wrong = dataclasses.replace(few, targets=torch.cat([few.targets[:16], torch.zeros(4).long()]))
    one, other = (
        tensors(fit(a_training(batch_size=20), dataclasses.replace(task, train=split)))
        for split in (few, wrong)
    )
    assert equal(one, other)


def test_every_sample_is_seen_once_an_epoch() -> None:
    training = a_training(epochs=2)
    orders: list[list[float]] = []
    weights = torch.arange(1.0, 21.0)
    task = series_task(validation=0)
    task = dataclasses.replace(task, train=dataclasses.replace(task.train, weights=weights))

    class Noting(CrossEntropy):
        def forward(self, prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
            orders.append(weight.tolist())
            return super().forward(prediction, target, weight)

    training.criterion = Noting()
    fit(training, task)
    assert [len(o) for o in orders] == [8, 8, 4] * 2
    ratios = [sorted(w / o[0] for w in o) for o in orders]  # of the weights, whatever their scale
    assert ratios[:3] != ratios[3:]  # another order


@pytest.mark.parametrize(
    "optimizer", [None, SPSA_ADAM(), SPSA(directions=1), CMAES(population=5), CMAES()]
)
def test_queries_are_counted(optimizer: Any) -> None:
    training = a_training(optimizer)
    counted = Counted(training.source)
    program = fit(training, series_task())
    assert program.metrics["queries"] == sum(counted.rows)


# --- stopped and resumed ----------------------------------------------------------------------


class Stop(Exception):
    """As Ctrl-C or a kill would."""


OPTIMIZERS: dict[str, Any] = {
    "adam and cosine": lambda: Backprop(
        partial(torch.optim.Adam, lr=0.02), scheduler=optim.cosine, mapping_lr=0.05
    ),
    "spsa": lambda: SPSA_ADAM(scheduler=optim.cosine),
    "cma-es": lambda: CMAES(population=5, sigma=0.2),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("at", [1, 3, 5, 9])
def test_a_resumed_run_is_an_unbroken_one(name: str, at: int, tmp_path: Path) -> None:
    task, make = series_task(), OPTIMIZERS[name]
    unbroken = fit(a_training(make(), epochs=3), task, tmp_path / "unbroken")

    def stop(p) -> None:
        if p.step == at:
            raise Stop

    folder = tmp_path / "broken"
    with pytest.raises(Stop):
        fit(a_training(make(), epochs=3), task, folder, checkpoint_seconds=0, progress=stop)
    assert (folder / "checkpoint").is_dir()
    torch.rand(11)
    steps: list[int] = []
    resumed = fit(
        a_training(make(), epochs=3), task, folder, resume=True,
        progress=lambda p: steps.append(p.step),
    )  # fmt: skip
    assert steps == list(range(at + 1, 10))
    assert equal(tensors(resumed), tensors(unbroken))
    for metrics in (resumed.metrics, unbroken.metrics):
        metrics.pop("seconds")
    assert resumed.metrics == unbroken.metrics
    assert (folder / "history.csv").read_text() == (tmp_path / "unbroken/history.csv").read_text()
    assert not (folder / "checkpoint").exists()


def test_a_finished_run_is_returned_as_it_is(tmp_path: Path) -> None:
    first = fit(a_training(), series_task(), tmp_path / "run")
    again = fit(a_training(), series_task(), tmp_path / "run", resume=True,
                progress=lambda _: pytest.fail("it was finished"))  # fmt: skip
    assert equal(tensors(first), tensors(again))


def test_resume_without_a_checkpoint_starts(tmp_path: Path) -> None:
    assert fit(a_training(), series_task(), tmp_path / "run", resume=True).metrics["train"]


def test_what_a_run_leaves(tmp_path: Path) -> None:
    program = fit(a_training(), series_task(), tmp_path / "run", beside={"note.txt": "mine"})
    names = {p.name for p in (tmp_path / "run").iterdir()}
    assert names == {"program.json", "program.safetensors", "metrics.json", "history.csv",
                     "note.txt"}  # fmt: skip
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == program.metrics
    with (tmp_path / "run/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(float(row["validation_loss"]) > 0 for row in rows)


def test_a_blind_run_may_keep_what_it_began_with(tmp_path: Path) -> None:
    """Estimates may lead away: the untrained program is a candidate."""
    wild = SPSA(partial(torch.optim.SGD, lr=3.0), c=0.05)
    training = a_training(wild, opaque=True, mapping=ManyToOne())
    started: list[dict[str, Tensor]] = []
    training.mapping.begin_epoch = lambda *_: started.append(  # pyright: ignore
        tensors(training.program(series_task().spec))
    )
    program = fit(training, series_task(), tmp_path / "run")
    assert equal(tensors(program), started[0])
    with (tmp_path / "run/history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [row["loss"] == "" for row in rows] == [True, False, False]


def stopped(folder: Path, **settings: Any) -> None:
    def stop(p) -> None:
        if p.step == 2:
            raise Stop

    with pytest.raises(Stop):
        fit(a_training(**settings), series_task(), folder, checkpoint_seconds=0, progress=stop)


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"epochs": 3},
        {"batch_size": 7},
        {"parameters": {"width": 5}},
        {"recipe": "other"},
        {"source": speech_source(seed=1).door("features")},
        {"optimizer": SPSA_ADAM()},
        {"optimizer": Backprop(torch.optim.SGD)},
        {"mapping": ManyToOne()},
        {"transformation": SeriesToFeatures(width=3, dropout=0.1)},
    ],
)
def test_a_checkpoint_of_another_run_is_refused(other: dict[str, Any], tmp_path: Path) -> None:
    stopped(tmp_path / "run")
    with pytest.raises(UserError, match="belongs to another run"):
        fit(a_training(**other), series_task(), tmp_path / "run", resume=True)
    fit(a_training(), series_task(), tmp_path / "run", resume=True)  # it is still good


def test_a_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    stopped(tmp_path / "run")
    with pytest.raises(UserError, match="belongs to another run"):
        fit(a_training(), series_task(seed=1), tmp_path / "run", resume=True)


@pytest.mark.parametrize("damage", ["empty", "truncated", "noise", "foreign", "pickle"])
def test_a_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    stopped(tmp_path / "run")
    file = tmp_path / "run/checkpoint/state.pt"
    whole = file.read_bytes()
    damaged = {"empty": b"", "truncated": whole[:-200], "noise": bytes(range(256))}
    if damage == "foreign":
        torch.save([1, 2], file)
    elif damage == "pickle":
        torch.save({"signature": Path("x")}, file)  # a class that weights_only refuses
    else:
        file.write_bytes(damaged[damage])
    with pytest.raises(UserError, match="is damaged; delete") as caught:
        fit(a_training(), series_task(), tmp_path / "run", resume=True)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    task = series_task()
    fit(a_training(), task, tmp_path / "run")
    with pytest.raises(UserError, match="already holds a program; choose another"):
        fit(a_training(), task, tmp_path / "run")
    stopped(tmp_path / "broken")
    with pytest.raises(UserError, match="unfinished run; continue it with --resume"):
        fit(a_training(), task, tmp_path / "broken")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("years of work")
    for resume in (False, True):
        with pytest.raises(UserError, match="is not an empty folder"):
            fit(a_training(), task, tmp_path / "mine", resume)
        with pytest.raises(UserError, match="is not an empty folder"):
            fit(a_training(), task, tmp_path / "mine/thesis.tex", resume)
    assert (tmp_path / "mine/thesis.tex").read_text() == "years of work"
    (tmp_path / "new").mkdir()
    fit(a_training(epochs=1), task, tmp_path / "new")


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"epochs": 0}, "'epochs' is 0; give 1 or more"),
        ({"batch_size": 0}, "'batch_size' is 0; give 1 or more"),
        ({"device": "quantum"}, "'device' is 'quantum'"),
        ({"device": "cuda:99"}, "'device' is 'cuda:99'"),
        ({"opaque": True}, "Backprop needs a gradient, and source given .*use NES, SPSA or CMAES"),
    ],
)
def test_a_bad_argument_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        a_training(**settings)
    assert "\n" not in str(caught.value)


def test_a_loss_that_is_not_finite_is_named() -> None:
    wild = Backprop(partial(torch.optim.SGD, lr=1e38))
    with pytest.raises(UserError, match=r"the loss is .* at step .*smaller learning rate"):
        fit(a_training(wild), series_task())


def test_a_task_that_does_not_fit_is_named_before_anything_is_written(tmp_path: Path) -> None:
    training = a_training(source=speech_source(), transformation=PadSeries(segments=9))
    with pytest.raises(UserError, match="at most 5 copies"):
        fit(training, series_task(), tmp_path / "run")
    assert not (tmp_path / "run").exists()
