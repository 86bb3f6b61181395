"""Recipes for models that can only be called: any access, no gradient, the queries they quote."""

import json
import warnings
from typing import Any

import pytest
import tiny
import torch
from commands import install
from torch import Tensor
from typechecker import unchecked

from reprogram import Program, parts, recipes
from reprogram.criteria import Focal
from reprogram.plan import Plan
from reprogram.sources import Source, zoo
from reprogram.train import Training, fit
from reprogram.types import Scores, UserError

TASK = tiny.image_task()
ROWS, VALIDATION, TEST = 20, 30, 12  # of tiny.image_task
EVALUATIONS = {"bar": 26, "blackvip": 10, "bvp": 8, "discrete-vp": 8}

RAW = {  # as published
    "bar": "RandomDirections(directions=25, c=0.01, calibrate=False)",
    "blackvip": "SPSA(law='segmented', directions=5, c=0.01, gamma=0.1, calibrate=False)",
}


@pytest.fixture(params=EVALUATIONS)
def name(request) -> str:
    return request.param


@pytest.fixture(autouse=True)
def coarse():
    """Labels of a tiny source are coarse, and the estimators say so."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no size of the perturbation|most differences|the loss")
        yield


def composed(name: str, source: Source | None = None, **numbers: Any) -> Training:
    return recipes.find(name)(source or tiny.black_box(tiny.image_source()), TASK, **numbers)


def bound(name: str, **numbers: Any) -> Any:
    """A training whose optimiser has begun a run of ten steps."""
    training = composed(name, **numbers)
    training.bind(TASK.spec)
    training.optimizer.bind(training.transformation, training.mapping, 10)
    return training


@pytest.mark.parametrize("scores", Scores, ids=lambda scores: scores.name)
def test_runs_at_every_access_for_what_it_quotes(name: str, scores: Scores, tmp_path) -> None:
    source = tiny.black_box(tiny.image_source(), scores)
    counted, plans = tiny.Counted(source), list[Plan]()
    training = composed(name, source, epochs=2, batch_size=10)
    program = fit(training, TASK, quote=plans.append)
    assert sum(counted.rows) == plans[0].total == program.metrics["queries"]
    first = 10 * training.optimizer.calibration
    assert plans[0].training == 2 * ROWS * EVALUATIONS[name] + first + ROWS  # ... and the mapping
    assert plans[0].test == TEST
    program.save(tmp_path / "run")
    again = Program.load(tmp_path / "run", source)
    x = TASK.test.inputs  # pyright: ignore
    assert torch.equal(again.predict(x).scores, program.predict(x).scores)


@pytest.mark.parametrize("name", ["bar", "blackvip"])
def test_no_gradient_is_asked_for(name: str) -> None:
    source = tiny.image_source()
    asked: list[bool] = []
    source.register_forward_hook(lambda _, args, out: asked.append(out.requires_grad))
    training = composed(name, source, epochs=1)
    assert source.gradient and not training.optimizer.gradient
    fit(training, TASK)
    assert asked and not any(asked)


@pytest.mark.parametrize("name", RAW)
def test_the_published_gains_are_a_text_away(name: str) -> None:
    training = bound(name, optimizer=RAW[name])
    optimizer: Any = training.optimizer
    assert optimizer.evaluations == EVALUATIONS[name]
    assert optimizer.calibration == 0 and not optimizer.calibrate and optimizer.c == 0.01
    assert type(optimizer.torch_optimizer) is torch.optim.SGD
    fit(composed(name, optimizer=RAW[name], epochs=1), TASK)


def test_bar_is_as_published() -> None:
    training = bound("bar")
    sphere: Any = training.optimizer
    assert type(sphere).__name__ == "RandomDirections" and sphere.gamma == 0
    assert type(sphere.torch_optimizer) is torch.optim.SGD
    assert sphere.torch_optimizer.defaults["lr"] == 0.05
    assert sphere.torch_optimizer.defaults["momentum"] == 0
    assert training.batch_size == 20
    assert isinstance(training.criterion, Focal)
    assert (training.criterion.gamma, training.criterion.class_weights) == (2.0, "balanced")
    resize, frame = training.transformation.parts
    assert resize.size == round(200 / 299 * tiny.SIDE)
    assert frame.squash == "tanh"


@pytest.mark.parametrize(
    ("numbers", "kind", "size"),
    [
        ({}, "Frequency", 2),  # 7 source classes for 3: no more than 2 each
        ({"group": 1}, "Frequency", 1),
        ({"mapping": "ManyToOne"}, "ManyToOne", 2),
        ({"mapping": "Frequency(size=1)"}, "Frequency", 1),
        ({"mapping": "Iterative", "group": 2}, "Iterative", 2),
    ],
)
def test_bar_reads_several_source_classes(numbers, kind: str, size: int) -> None:
    described = parts.describe(bound("bar", **numbers).mapping)
    assert described["name"] == kind
    assert described["arguments"]["size"] == size


def test_a_group_of_none_is_refused() -> None:
    with pytest.raises(UserError, match="size 1 to"):
        bound("bar", group=0)


def test_blackvip_is_as_published() -> None:
    training = bound("blackvip")
    spsa: Any = training.optimizer
    assert (spsa.law, spsa.directions, spsa.gamma) == ("segmented", 5, 0.1)
    told = spsa.torch_optimizer.defaults
    assert (told["momentum"], told["nesterov"], told["dampening"]) == (0.9, True, 0)
    rates = []
    for _ in range(5):
        rates.append(spsa.torch_optimizer.param_groups[0]["lr"])
        spsa.torch_optimizer.step()
        spsa.torch_scheduler.step()
    assert rates == pytest.approx([0.01 / (k + 1) ** 0.4 for k in range(5)])


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Samples that ``zoo:tiny-images`` has seen as an encoder, and the seed of its weights."""
    install(monkeypatch)
    state = {"seed": 0, "rows": 0}

    def count(source: Source, args: tuple[Tensor]) -> None:
        state["rows"] += len(args[0])

    def load() -> Source:
        source = tiny.image_source(state["seed"])
        source.uri = "zoo:tiny-images"
        source.register_forward_pre_hook(count)
        return source

    monkeypatch.setitem(zoo.SOURCES, "tiny-images", (load, "tiny, for tests"))
    return state


def test_the_encoder_runs_once_an_image_and_is_no_part_of_the_program(encoders, tmp_path) -> None:
    source = tiny.black_box(tiny.image_source())
    seen = "zoo:tiny-images"
    training = composed("blackvip", source, epochs=3, encoder=seen)
    program = fit(training, TASK, tmp_path / "run")
    assert encoders["rows"] == 1 + ROWS + VALIDATION + TEST  # bind asks for its width
    assert not any("encoder" in key for key in program.transformation.state_dict())
    told = json.loads((tmp_path / "run/program.json").read_text())
    assert told["parameters"]["encoder"] == seen
    again = Program.load(tmp_path / "run", source)
    x = TASK.test.inputs  # pyright: ignore
    assert torch.equal(again.predict(x).scores, program.predict(x).scores)
    encoders["seed"] = 1
    with pytest.raises(UserError, match="Coordinator's encoder, zoo:tiny-images, has the finger"):
        Program.load(tmp_path / "run", source)


def test_the_published_decoder_has_the_published_layers() -> None:
    coordinator = bound("blackvip", decoder="published").transformation.parts[1]
    assert (coordinator.grid, coordinator.widths) == (7, [64, 32, 32, 16])
    trained = [
        bound("blackvip", decoder=d).program(TASK.spec).trained for d in ("small", "published")
    ]
    assert trained[0] < 1000 < trained[1]
    with (
        unchecked(),
        pytest.raises(UserError, match="'decoder' is 'large'; give 'small' or 'published'"),
    ):
        composed("blackvip", decoder="large")


@pytest.mark.parametrize(
    ("numbers", "trained"),
    [
        ({"size": 4}, 3 * 16),
        ({"size": 4, "colour": False}, 16),
        ({"basis": "grid", "size": 5}, 3 * 25),
        ({"basis": "random", "size": 50}, 50),
    ],
)
def test_bvp_trains_few_numbers(numbers, trained: int) -> None:
    training = bound("bvp", **numbers)
    assert sum(p.numel() for p in training.transformation.parameters()) == trained
    assert type(training.mapping).__name__ == "Discriminant"


@pytest.mark.parametrize(
    "optimizer",
    ["SPSA(directions=2)", "NES(directions=2)", "CMAES(population=4, diagonal=True)",
     "RandomDirections(directions=3, orthogonal=True)"],
)  # fmt: skip
def test_any_estimator_by_name(name: str, optimizer: str) -> None:
    training = composed(name, optimizer=optimizer, epochs=1)
    program = fit(training, TASK)
    assert program.parameters["optimizer"] == optimizer


def test_a_continuous_program_has_no_score_function() -> None:
    with pytest.raises(UserError, match="is not discrete"):
        fit(composed("bvp", optimizer="ScoreFunction(samples=3)", epochs=1), TASK)
