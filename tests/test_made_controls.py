"""The controls of programs that draw or lead an automaton: what stands where no program does."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import tiny
import tiny_automata
import torch
from tiny_generators import drawing_source, drawing_task, reading_source, shown

from reprogram.diagnose import (
    automata,
    conditional_gan,
    controls,
    lasting,
    published,
    random_source,
    real,
    rejection,
    stability,
    suite,
    untouched,
)
from reprogram.draws import forked_rng
from reprogram.recipes import find, gan_noise
from reprogram.sources import CallableSource, Source, zoo
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.types import Cells, UserError

JUDGED = {"wanted", "fid", "intra_fid", "coverage", "recall", "precision"}
JUDGE = "zoo:tiny-judge"
FEW: dict[str, Any] = {"steps": 2, "batch_size": 20, "width": 4, "channels": 8}


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Task:
    """Pictures that a tiny judge reads."""
    monkeypatch.setitem(zoo.SOURCES, "tiny-judge", (reading_source, "tiny, for tests"))
    task = drawing_task()
    return dataclasses.replace(task, spec=dataclasses.replace(task.spec, judge=JUDGE))


# Of programs that draw

CONTROLS: dict[str, tuple[Callable[[Source, Task, int], dict[str, float]], set[str]]] = {
    "conditional_gan": (lambda _, task, seed: conditional_gan(task, **FEW, seed=seed), {"loss"}),
    "rejection": (
        lambda source, task, seed: rejection(source, task, seed=seed),
        {"loss", "kept"},
    ),
    "real": (lambda _, task, seed: real(task), set()),
    "random_source": (
        lambda source, task, seed: random_source(
            gan_noise, source, task, epochs=1, batch_size=20, width=4, seed=seed
        ),
        {"loss"},
    ),
}
each = pytest.mark.parametrize("name", CONTROLS)


@each
def test_a_control_tells_every_metric_and_repeats(name: str, judged: Task) -> None:
    control, besides = CONTROLS[name]
    source, state = drawing_source(), torch.get_rng_state()
    before = source.fingerprint()
    told = control(source, judged, 1)
    assert set(told) == JUDGED | besides
    assert all(math.isfinite(value) for value in told.values())
    assert all(0 <= told[share] <= 1 for share in ("wanted", "coverage", "recall", "precision"))
    assert control(source, judged, 1) == told
    assert source.fingerprint() == before
    assert torch.equal(torch.get_rng_state(), state)


def test_without_a_judge_the_error_is_told() -> None:
    for name in ("conditional_gan", "rejection"):
        control, besides = CONTROLS[name]
        assert set(control(drawing_source(), drawing_task(), 0)) == {"mse"} | besides


def test_real_images_are_those_that_chose_nothing(judged: Task) -> None:
    right = shown(judged.train.targets) == judged.train.weights.argmax(1)
    assert real(judged)["wanted"] == right.double().mean()
    half = judged.train.subset(range(20, 40))
    assert judged.test is not None
    assert real(dataclasses.replace(judged, validation=judged.test))["fid"] < 1e-9
    given = dataclasses.replace(judged, validation=half)
    assert real(given) == real(dataclasses.replace(judged, train=half))


def test_rejection_keeps_what_its_classifier_reads(judged: Task) -> None:
    """Half of the draws are of either picture, and half of what is asked for is."""
    told = rejection(drawing_source(), judged)
    assert told["wanted"] > 0.9
    assert told["kept"] == 20 / 256  # 20 samples, served by the first call


def test_controls_of_a_generator_are_told_together(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ("conditional_gan", "rejection", "random_source")
    asked: dict[str, dict[str, Any]] = {}

    def told(part: str, numbers: dict[str, Any]) -> dict[str, float]:
        asked[part] = numbers
        return {"mse": 0.5, "loss": 1.0}

    for part in parts:
        monkeypatch.setattr(suite, part, lambda *_, part=part, **numbers: told(part, numbers))
    names: list[str] = []
    numbers = {"width": 4, "seed": 3}
    controls(gan_noise, drawing_source(), drawing_task(), tell=names.append, **numbers)
    assert names == list(asked) == list(parts)
    assert list(asked.values()) == [{"seed": 3}, {"seed": 3}, numbers]
    opened = drawing_source()
    closed = CallableSource(opened, opened.input, opened.output)  # its weights cannot be seen
    assert list(controls(gan_noise, closed, drawing_task())) == names[:2]


WRONG: dict[str, Callable[[Task], Any]] = {
    "corners asks for classes; this control draws": lambda _: rejection(
        drawing_source(), tiny.image_task()
    ),
    "corners asks for classes; .* take a task": lambda _: real(tiny.image_task()),
    "drawing names no judge": lambda _: real(drawing_task()),
    "task drawing has no test split": lambda _: conditional_gan(drawing_task(test=0)),
    "drawing has no test split: controls": lambda _: rejection(
        drawing_source(), drawing_task(test=0)
    ),
    "has no door 'noise'": lambda task: rejection(tiny.image_source(), task),
    "zoo:tiny-judge, which tells 2 classes \\(lying, standing\\); drawing asks for 2": (
        lambda task: real(_asking(task, ("a", "b")))
    ),
    "measured of programs that intervene in an automaton": lambda task: stability(
        _drawing().program(task.spec), drawing_task().train, steps=[1]
    ),
    "intervene in an automaton; ClassNoise": lambda task: lasting(
        _drawing().program(task.spec), task
    ),
    "automaton; ClassNoise does not": lambda task: untouched(_drawing(), task),
    "nothing is published of ClassNoise": lambda task: published(_drawing(), task, "eight"),
}


def _asking(task: Task, classes: tuple[str, ...]) -> Task:
    return dataclasses.replace(task, spec=dataclasses.replace(task.spec, classes=classes))


def _drawing() -> Training:
    return gan_noise(drawing_source(), drawing_task(), width=4)


@pytest.mark.parametrize("message", WRONG)
def test_what_has_no_control_is_told_in_a_line(message: str, judged: Task) -> None:
    with pytest.raises(UserError, match=message) as caught:
        WRONG[message](judged)
    assert "\n" not in str(caught.value)


# Of programs that lead an automaton

WORLDS = {"nca-inject": "digits", "nca-global": "growing"}
METRICS = {"nca-inject": ("accuracy", "majority", "like_untouched"),
           "nca-global": ("mse", "mse_untouched")}  # fmt: skip
GROWN = 5  # steps of the automaton before a run on "grown"
both = pytest.mark.parametrize("name", WORLDS)


def composed(name: str, *, certain: bool = False, **numbers: Any) -> tuple[Training, Task]:
    """A training inside an automaton; a certain one draws nothing."""
    source, task = tiny_automata.world(WORLDS[name])
    if certain:
        source.rollout.cell.rate, source.rollout.cell.noise = 2.0, 0.0
    training = find(name)(source, task, **{"steps": 2, "pool": 0, **numbers})
    training.transformation.grown = GROWN  # pyright: ignore
    return training, task


def moved(name: str, **numbers: Any) -> tuple[Any, Task]:
    """A program that is no longer at its start."""
    training, task = composed(name, **numbers)
    training.bind(task.spec)
    generator = torch.Generator().manual_seed(0)
    for parameter in training.transformation.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return training.program(task.spec), task


@both
@pytest.mark.parametrize("evaluation", [None, 3])
def test_untouched_is_the_source_alone(name: str, evaluation: int | None) -> None:
    training, task = composed(name, certain=True, evaluation=evaluation)
    source: Any = training.source
    before, state = source.fingerprint(), torch.get_rng_state()
    told = untouched(training, task)
    assert source.fingerprint() == before and torch.equal(torch.get_rng_state(), state)
    assert task.test is not None
    x, target, weight = task.test.batch(torch.arange(len(task.test)))
    cell = source.rollout.cell
    if name == "nca-inject":
        end = source(Cells(cell.initial(x), steps=evaluation))
        right = (end[:, -3:].argmax(1) == target) * weight
        assert told["accuracy"] == pytest.approx(float(right.sum() / weight.sum()))
        assert told.keys() == {"loss", "accuracy", "sample_accuracy", "agreement"}
    else:
        seed = cell.seed(8, 8)
        starts = torch.cat([seed, source.rollout.grown(seed, steps=GROWN)])[x.long()]
        seen = source(Cells(starts, steps=evaluation))[:, :4]
        error = float((training.mapping(seen) - target).square().mean())
        assert told == {"loss": pytest.approx(error), "mse": pytest.approx(error)}


@both
def test_untouched_repeats_where_cells_fire_by_chance(name: str) -> None:
    one, task = composed(name)
    other, _ = composed(name)
    assert untouched(one, task) == untouched(other, task)
    nothing = dataclasses.replace(task, test=None)
    with pytest.raises(UserError, match="has no test split"):
        untouched(composed(name)[0], nothing)


@both
def test_how_long_it_lasts_in_one_list_of_numbers(name: str) -> None:
    program, task = moved(name)
    source = program.source.fingerprint()
    told = lasting(program, task, rows=4, seed=1)
    runs = [f"{run}@{times}x" for run in ("untouched", "program", "damaged", "removed", "larger")
            for times in (1, 2, 10)]  # fmt: skip
    assert set(told) == {f"{run} {metric}" for run in runs for metric in METRICS[name]}
    assert all(math.isfinite(value) for value in told.values())
    assert lasting(program, task, rows=4, seed=1) == told
    assert lasting(program, task, rows=4, seed=2) != told
    assert program.source.fingerprint() == source


@both
def test_what_lasts_by_hand(name: str) -> None:
    """Where nothing is drawn, runs agree until a circle is erased or the program ends."""
    program, task = moved(name, certain=True)
    assert task.test is not None
    told = lasting(program, task, rows=4)
    metric, beside = METRICS[name][0], METRICS[name][-1]
    for run in ("damaged", "removed"):
        assert told[f"{run}@1x {metric}"] == told[f"program@1x {metric}"]
    assert {told[f"untouched@{n}x {beside}"] for n in (1, 2, 10)} == {float(name == "nca-inject")}
    part, x = program.transformation.eval(), task.test.batch(torch.arange(4))[0]
    with forked_rng(0, 0), torch.no_grad():
        cells = part(part.prepare(x))
        state = program.source(cells._replace(steps=4))
        once = program.source(cells._replace(steps=2))
        left = program.source(Cells(once, steps=2))
    _, target, weight = task.test.batch(torch.arange(4))
    for run, end in (("program", state), ("removed", left)):
        said = program.mapping(end)
        if name == "nca-inject":
            others = weight * ~cells.mask[:, 0]
            wanted = float(((said.argmax(-1) == target) * others).sum() / others.sum())
        else:
            wanted = float((said - target).square().mean())
        assert told[f"{run}@2x {metric}"] == pytest.approx(wanted, rel=1e-5), run


@both
def test_steps_of_a_range_last_as_long_as_its_end(name: str) -> None:
    program, task = moved(name, certain=True)
    longer, _ = moved(name, certain=True, steps=[1, 2])
    assert lasting(longer, task, rows=2) == lasting(program, task, rows=2)


@pytest.fixture
def public(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands for the published values, which do not fit an automaton so small."""
    values: dict[str, Any] = {
        "eight": tiny_automata.digits().rollout.cell.state_dict(),  # pyright: ignore
        "tail": 0.5 * torch.eye(6),
    }
    for kind in ("adversary", "matrix"):
        monkeypatch.setattr(automata, f"published_{kind}", values.__getitem__)
    return values


@pytest.mark.parametrize(("name", "value"), [("nca-inject", "eight"), ("nca-global", "tail")])
def test_a_published_program_stands_in_place_of_a_trained_one(
    name: str, value: str, public: dict[str, Any]
) -> None:
    training, task = composed(name)
    before = training.source.fingerprint()
    program = published(training, task, value)
    part: Any = program.transformation
    if name == "nca-inject":
        for key, tensor in part.adversary.state_dict().items():
            assert torch.equal(tensor, public[value][key]), key
    else:
        assert torch.equal(part.matrix(), public[value])
    assert program.recipe == name and program.source.fingerprint() == before
    assert lasting(program, task, rows=2).keys() >= {f"program@1x {METRICS[name][0]}"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("nca-inject", "tail", "unknown published adversary 'tail'; .*Known: eight, no_tail"),
     ("nca-global", "eight", "unknown published matrix 'eight'; .*Known: arm, blue, head")],
)  # fmt: skip
def test_what_was_not_published_is_refused(name: str, value: str, message: str) -> None:
    training, task = composed(name)
    with pytest.raises(UserError, match=message):
        published(training, task, value)
