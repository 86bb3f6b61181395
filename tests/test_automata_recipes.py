"""Recipes inside automata, with the mappings, the criterion and the optimiser that they take."""

from typing import Any

import pytest
import tiny_automata as tiny
import torch
from tiny import image_source
from torch import nn

import reprogram
from reprogram import optim
from reprogram.criteria import SquaredError
from reprogram.diagnose import stability
from reprogram.mappings import CellScores, Pixels
from reprogram.program import Program
from reprogram.report.film import colours, film, opaque
from reprogram.transformations import Inject, StateMatrix
from reprogram.types import Cells, InputSpec, OutputSpec, TaskSpec, UserError

RECIPES = {"nca-inject": "digits", "nca-global": "growing"}


def training(name: str, **numbers) -> tuple[Any, Any]:
    source, task = tiny.world(RECIPES[name])
    numbers = {"steps": 3, "pool": 12, "epochs": 3, "batch_size": 4, **numbers}
    return reprogram.recipes.find(name)(source, task, **numbers), task


@pytest.mark.parametrize("name", list(RECIPES))
def test_fit_save_load(name: str, tmp_path) -> None:
    composed, task = training(name)
    program = reprogram.fit(composed, task)
    assert program.metrics["source_unchanged"]
    assert type(composed.criterion) is SquaredError and not composed.keep_best
    if name == "nca-global":
        assert program.metrics["parameters"] == 6 * 7 // 2
    program.save(tmp_path / "program")
    again = Program.load(tmp_path / "program", composed.source)
    x = task.test.batch(torch.arange(4))[0]
    outputs = []
    for one in (program, again):
        torch.manual_seed(0)
        outputs.append(one.model.eval()(x))
    assert torch.equal(*outputs)
    trained = dict(again.transformation.named_parameters(prefix="transformation"))
    assert set(again.tensors()) == set(trained)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("name", list(RECIPES))
def test_resume_is_an_unbroken_run(name: str, tmp_path) -> None:
    composed, task = training(name)
    unbroken = reprogram.fit(composed, task)
    filled = composed.transformation.memory()["kept.filled"]
    assert filled.any()

    def stop(progress) -> None:
        if progress.step == 4:
            raise Stopped

    with pytest.raises(Stopped):
        reprogram.fit(training(name)[0], task, tmp_path / "run", progress=stop,
                      checkpoint_seconds=0)  # fmt: skip
    resumed = reprogram.fit(training(name)[0], task, tmp_path / "run", resume=True)
    for key, tensor in unbroken.tensors().items():
        assert torch.equal(resumed.tensors()[key], tensor), key


def test_a_program_learns_to_lead() -> None:
    """An automaton of which every cell is an adversary says what is wanted."""
    composed, task = training("nca-inject", share=1.0, epochs=12, learning_rate=0.05)
    composed.bind(task.spec)
    before = reprogram.evaluation.evaluate(composed.program(task.spec), task.test)["accuracy"]
    program = reprogram.fit(composed, task)
    assert program.metrics["test"]["accuracy"] > max(0.9, before)


def test_gradients_of_unit_length() -> None:
    parts = [torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)]
    unused = torch.zeros(1, requires_grad=True)
    optimizer = optim.normalised(torch.optim.SGD)([{"params": parts}, {"params": [unused]}], lr=0.5)
    generator = torch.Generator().manual_seed(0)
    gradients = [1e3 * torch.randn(p.shape, generator=generator) for p in parts]
    for part, g in zip(parts, gradients, strict=True):
        part.grad = g.clone()
    optimizer.step()
    for part, g in zip(parts, gradients, strict=True):
        torch.testing.assert_close(part.detach(), -0.5 * g / g.norm())
    parts[0].grad = torch.zeros(3)
    optimizer.step()
    assert all(torch.isfinite(p).all() for p in parts)


def test_the_rate_drops() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = optim.drops(0.3, 0.7)(optimizer, 10)
    rates = []
    for _ in range(10):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1] * 3 + [0.1] * 4 + [0.01] * 3)


def test_squared_error_of_cells_by_its_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 4, 5, generator=generator)
    target = torch.randint(5, (2, 3, 4), generator=generator)
    weight = (torch.rand(2, 3, 4, generator=generator) < 0.5).float()
    losses = SquaredError()(scores, target, weight)
    for b in range(2):
        wanted = sum(
            0.5 * float(weight[b, y, x]) * (float(c == target[b, y, x]) - float(s)) ** 2
            for y in range(3) for x in range(4) for c, s in enumerate(scores[b, y, x])
        )  # fmt: skip
        assert float(losses[b]) == pytest.approx(wanted, rel=1e-5)


def test_squared_error_of_images() -> None:
    generator = torch.Generator().manual_seed(0)
    images, real = torch.rand(2, 3, 4, 2, 2, generator=generator)
    losses = SquaredError()(images, real, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    wanted = nn.functional.mse_loss(images, real, reduction="none").mean((1, 2, 3))
    torch.testing.assert_close(losses, wanted * torch.tensor([1.0, 1.0, 0.0]))


def test_mappings_take_their_channels() -> None:
    source, task = tiny.world("digits")
    mapping = CellScores()
    mapping.bind(source, task.spec)
    state = torch.rand(2, 6, 5, 7)
    scores = mapping(state)
    assert scores.shape == (2, 5, 7, 3)
    assert torch.equal(scores[1, 2, 3], state[1, 3:, 2, 3])
    source, task = tiny.world("growing")
    for channels in (None, 4):
        pixels = Pixels(channels=channels)
        pixels.bind(source, task.spec)
        assert torch.equal(pixels(state), state[:, :4])


def of(kind: Any, shape: tuple[int, ...], target: Any, wanted: tuple[int, ...] = ()) -> TaskSpec:
    return TaskSpec("odd", InputSpec(kind, shape), ("a", "b", "c"), target=target, shape=wanted)


CELLS = of("image", (1, 6, 6), "cells")
BAD: dict[str, tuple[Any, str]] = {
    "share": (lambda: Inject(share=0.0), r"'share' is 0.0; give .* \(0, 1\]"),
    "share above": (lambda: Inject(share=1.5), "'share' is 1.5"),
    "fresh": (lambda: Inject(fresh=-0.1), r"'fresh' is -0.1; give a share in \[0, 1\]"),
    "damaged": (lambda: StateMatrix(damaged=2.0), "'damaged' is 2.0"),
    "steps": (lambda: Inject(steps=0), "'steps' is 0; give 1 or more"),
    "range": (lambda: Inject(steps=[9, 9]), r"'steps' is \[9, 9\]"),
    "pool": (lambda: Inject(pool=-1), "'pool' is -1"),
    "channels": (lambda: Pixels(channels=0), "'channels' is 0"),
    "no automaton": (lambda: Inject().bind(image_source(), CELLS), "takes 'image' and has no rule"),
    "colour": (
        lambda: Inject().bind(tiny.digits(), of("image", (3, 6, 6), "cells")),
        r"one grey channel into a state of 6; odd has images of shape \(3, 6, 6\)",
    ),
    "kind": (lambda: Inject().bind(tiny.growing(), CELLS), "from 'class'; odd is 'image'"),
    "picture": (
        lambda: StateMatrix().bind(tiny.growing(), of("class", (), "image", (9, 8, 8))),
        r"at most the state's 6 channels.* wants \(9, 8, 8\)",
    ),
    "too few": (
        lambda: CellScores().bind(
            tiny.digits(), TaskSpec("odd", CELLS.input, tuple("abcdefgh"), target="cells")
        ),
        "odd has 8 classes, and a state of source given 6 channels",
    ),
    "no state": (lambda: CellScores().bind(image_source(), CELLS), "reads a state; .* 'classes'"),
    "no cells": (
        lambda: CellScores().bind(tiny.digits(), of("image", (1, 6, 6), "classes")),
        "asks for classes: use Linear",
    ),
    "shape": (
        lambda: Pixels().bind(
            tiny.TinyImage(OutputSpec("image", (1, 28, 28))), of("class", (), "image", (1, 8, 8))
        ),
        r"shape \(1, 8, 8\); source given returns image \(1, 28, 28\)",
    ),
    "classes": (lambda: Pixels().bind(tiny.growing(), CELLS), "Pixels predicts an image"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(BAD))
def test_bad_input_is_told_in_one_line(case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(UserError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_state_with_other_channels_is_refused() -> None:
    with pytest.raises(UserError, match="6 channels"):
        tiny.digits()(Cells(torch.zeros(1, 5, 6, 6)))


def fitted(name: str) -> tuple[Any, Any]:
    composed, task = training(name, epochs=1)
    return reprogram.fit(composed, task), task


@pytest.mark.parametrize("name", list(RECIPES))
def test_stability_by_its_own_laws(name: str) -> None:
    program, task = fitted(name)
    rows = stability(program, task.test, steps=[6, 2], damage=2, remove=3, sizes=[8, 11])
    assert rows == stability(program, task.test, steps=[6, 2], damage=2, remove=3, sizes=[8, 11])
    told = {(row["run"], row["grid"], row["step"]): row for row in rows}
    assert len(told) == len(rows) == 4 * 2 * 2
    same = {"nca-inject": ("like_untouched", 1.0), "nca-global": ("mse_untouched", 0.0)}[name]
    for (run, grid, step), row in told.items():
        assert run != "untouched" or row[same[0]] == same[1]
        assert grid in ("6x6", "8x8", "11x11") and step in (2, 6)
    assert {row["run"] for row in rows} == {"untouched", "program", "damaged", "removed"}


def test_a_program_that_does_nothing_leaves_the_automaton_as_it_is() -> None:
    source, task = tiny.world("growing")
    source.rollout.cell.rate = 2.0  # every cell, no chance
    training = reprogram.recipes.nca_global(source, task, pool=0)
    training.bind(task.spec)
    program = training.program(task.spec)
    seeds = task.test.subset([0, 2, 4])
    for row in stability(program, seeds, steps=[2, 3], remove=1):
        assert row["mse_untouched"] < 1e-9
    matrix: Any = program.transformation
    matrix.put(0.5 * torch.eye(6))
    found = {r["run"]: r["mse_untouched"] for r in stability(program, seeds, steps=[3])}
    assert found["program"] > 1e-3 > found["untouched"]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [({"steps": []}, "'steps' is"), ({"steps": [0, 4]}, "'steps' is"),
     ({"steps": [4], "damage": 0}, "'damage' is 0"), ({"steps": [4], "sizes": [3]}, "holds 3")],
)  # fmt: skip
def test_stability_refuses(numbers: dict[str, Any], message: str) -> None:
    composed, task = training("nca-inject")
    composed.bind(task.spec)
    with pytest.raises(UserError, match=message):
        stability(composed.program(task.spec), task.test, **numbers)


@pytest.mark.parametrize("height", [3, 4])
def test_a_film_of_few_rows_of_cells_is_in_the_colours_of_the_classes(height: int) -> None:
    """Cells (batch, 4, width, classes) are no picture of four channels."""
    composed, task = training("nca-inject")
    composed.bind(task.spec)
    program = composed.program(task.spec)
    x = torch.rand(2, 1, height, 5, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.1
    x[:, :, 0, 0] = 0.0  # a dead cell
    frames = film(program, x, seed=1)
    assert len(frames) == tiny.STEPS + 1
    palette = (255 * torch.tensor(colours(tiny.CLASSES))).round() / 255
    for frame in frames:
        assert frame.shape == (2, 3, height, 5) and not frame[:, :, 0, 0].any()
    scores = program.predict(x, seed=1).scores  # of the same run
    wanted = palette[scores.argmax(-1)].movedim(-1, 1)
    wanted = wanted * (scores.amax(-1) > scores.amin(-1))[:, None]  # some have not fired yet
    assert torch.equal(frames[-1], wanted) and wanted.amax(1).gt(0).float().mean() > 0.7


def test_a_film_of_a_picture_ends_in_what_is_drawn() -> None:
    composed, task = training("nca-global")
    composed.bind(task.spec)
    program = composed.program(task.spec)
    frames = film(program, torch.tensor([0.0, 1.0]), seed=2, most=3)
    made = opaque(program.draw(["seed", "grown"], seed=2).images)
    assert len(frames) == 3
    torch.testing.assert_close(frames[-1], made, atol=0.5 / 255, rtol=0)


def test_no_sample_is_no_answer() -> None:
    composed, task = training("nca-inject")
    composed.bind(task.spec)
    program = composed.program(task.spec)
    for sides in ((6, 6), (4, 9)):
        told = program.predict(torch.zeros(0, 1, *sides))
        assert told.scores.shape == (0, *sides, 3) and told.labels == []
        assert told.probabilities.shape == (0, 3)
        assert program.predict(torch.rand(1, 1, *sides)).scores.shape == (1, *sides, 3)
    composed, task = training("nca-global")
    composed.bind(task.spec)
    made = composed.program(task.spec).draw([])
    assert made.images.shape == (0, 4, 8, 8) and made.labels == ()
