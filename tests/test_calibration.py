"""Gains that find themselves: the perturbation's size, the step's, and what is done in trouble."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from tiny import black_box, linear_source
from torch import Tensor, nn

from reprogram.criteria import CrossEntropy
from reprogram.mappings import Fixed, Linear, ManyToOne
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.optim import CMAES, NES, SPSA, RandomDirections, flatten
from reprogram.optim.calibration import RUNGS, choose, ladder
from reprogram.optim.guards import WINDOW, Divergence, Floor, Gain
from reprogram.sources import CallableSource, Source
from reprogram.transformations import Transformation
from reprogram.types import InputSpec, Scores, TaskSpec

NOTHING = Fixed()
VANISH, RISEN, UNCLEAR = "differences vanish in the rounding", "loss has risen", "no size of the"


@contextmanager
def quiet() -> Iterator[list[str]]:
    """What is warned of inside, as text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        told: list[str] = []
        yield told
        told += [str(w.message) for w in caught]


class Vector(nn.Module):
    """Parameters and nothing else."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(values.clone())


class Losses:
    """Any function (P, D) -> (P, batch) as an objective, and what it was asked."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function, self.calls, self.tried = function, [], []

    def __call__(self, parameters: Tensor | None = None, *, observe: bool = True) -> Tensor:
        assert parameters is not None
        (self.calls if observe else self.tried).append(parameters.clone())
        return self.function(parameters)

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


def begun(estimator: Any, function: Callable[[Tensor], Tensor], w: Tensor) -> Losses:
    """After one step on these losses."""
    objective = Losses(function)
    estimator.bind(Vector(w), NOTHING, 10)
    estimator.step(objective)
    return objective


# --- the perturbation's size ---------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "unit"), [(0.0, 1.0), (0.01, 1.0), (5.0, 5.0)])
def test_the_ladder_stands_on_the_parameters_scale(scale: float, unit: float) -> None:
    sizes = ladder(torch.full((7,), scale))
    assert len(sizes) == RUNGS
    torch.testing.assert_close(sizes[1:] / sizes[:-1], torch.full_like(sizes[1:], 4.0))
    assert float(sizes[0]) == pytest.approx(1e-3 * unit)


def smooth(w: Tensor) -> Tensor:
    """(P, D) -> (P, 20), of a slope and a curvature of about 1."""
    at = torch.linspace(-1, 1, 20)
    return (w.sum(1, keepdim=True) + at).sin() + w.square().sum(1, keepdim=True) / 2 + 3


def rounded(step: float) -> Callable[[Tensor], Tensor]:
    return lambda w: (smooth(w) / step).round() * step


@pytest.mark.parametrize("make", [SPSA, RandomDirections, NES])
def test_a_smooth_loss_takes_the_smallest_size(make: Any) -> None:
    with quiet() as told:
        estimator = make(directions=3)
        objective = begun(estimator, smooth, torch.zeros(8))
    assert estimator.size == pytest.approx(1e-3)
    assert not told
    assert [len(call) for call in objective.tried] == [estimator.calibration]
    assert [len(call) for call in objective.calls] == [estimator.evaluations]


@pytest.mark.parametrize("make", [SPSA, RandomDirections, NES])
@pytest.mark.parametrize("step", [0.01, 0.05])
def test_a_rounded_loss_takes_a_larger_one(make: Any, step: float) -> None:
    estimator = make(directions=3)
    with quiet():
        begun(estimator, rounded(step), torch.zeros(8))
    assert estimator.size > step / 4


@pytest.mark.parametrize("make", [SPSA, RandomDirections, NES])
@pytest.mark.parametrize("value", [1.0, 0.0])
def test_a_flat_loss_takes_the_largest_and_says_so(make: Any, value: float) -> None:
    estimator = make()
    with quiet() as told:
        begun(estimator, lambda w: torch.full((len(w), 4), value), torch.zeros(8))
    assert estimator.size == pytest.approx(1.024)
    assert len(told) == 1 and UNCLEAR in told[0]


def test_the_largest_rungs_may_fail() -> None:
    estimator = SPSA()
    with quiet() as told:
        begun(estimator, lambda w: smooth(w) / (w.abs().amax(1, True) < 0.05), torch.zeros(8))
    assert estimator.size == pytest.approx(1e-3) and not told


def test_samples_without_a_label_have_no_say() -> None:
    weight = (torch.arange(20) % 5 == 0).float()
    estimator = SPSA()
    with quiet() as told:
        begun(estimator, lambda w: smooth(w) * weight, torch.zeros(8))
    assert estimator.size == pytest.approx(1e-3) and not told


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_choose_skips_rungs_of_ties(dtype: torch.dtype) -> None:
    sizes = torch.tensor([0.1, 0.4, 1.6, 6.4], dtype=dtype)
    slopes = torch.tensor([1.0, -2.0, 3.0], dtype=dtype)
    seen = (sizes[:, None] * slopes)[:, None]  # of one direction
    assert choose(sizes, seen, 0.0) == 0
    assert choose(sizes, seen, 0.25) == 1
    assert choose(sizes, seen, 1.0) == 2


@pytest.mark.parametrize("clear", range(1, 5))
def test_a_rough_loss_takes_the_size_that_samples_agree_on(clear: int) -> None:
    """No rung's slopes are those of the next; about one of them the batch has one voice."""
    generator = torch.Generator().manual_seed(clear)
    seen = torch.randn(6, 2, 50, generator=generator)
    near = torch.tensor([abs(rung - clear) for rung in range(6)])
    seen += (3.0 * (near == 0) + 1.5 * (near == 1))[:, None, None]
    assert choose(ladder(torch.zeros(3)), seen, 0.0) == clear


def test_where_nothing_differs_the_largest_is_taken_and_said() -> None:
    with quiet() as told:
        assert choose(ladder(torch.zeros(3)), torch.zeros(6, 2, 50), 0.0) == 5
    assert UNCLEAR in told[0]


def test_a_given_size_is_taken_as_it_is() -> None:
    for estimator, size in ((SPSA(c=0.02), 0.02), (RandomDirections(c=0.02), 0.01)):
        objective = begun(estimator, smooth, torch.zeros(4))
        assert not objective.tried
        assert estimator.size == pytest.approx(size)


# --- on a source ---------------------------------------------------------------------------------


class Affine(Transformation):
    """A linear map of a table of two columns, and an offset."""

    def bind(self, source: Any, task: TaskSpec) -> None:
        self.matrix, self.offset = nn.Parameter(torch.eye(2)), nn.Parameter(torch.ones(2))

    def forward(self, prepared: Tensor) -> Tensor:
        return prepared @ self.matrix + self.offset


def coarse(decimals: int | None) -> Source:
    """The linear source with rounded probabilities, or with scores in half precision."""
    source = linear_source()

    def answer(x: Tensor) -> Tensor:
        if decimals is None:
            return source(x).half()
        return (source(x).softmax(1) * 10**decimals).round() / 10**decimals

    return CallableSource(
        answer, source.input, source.output,
        scores=Scores.LOGITS if decimals is None else Scores.PROBABILITIES,
    )  # fmt: skip


def a_program(source: Source, mapping: Any) -> Callable[[int], BatchObjective]:
    """Makes objectives on 32 rows, of a class on each side of a line."""
    spec = TaskSpec("toy", InputSpec("table", (2,)), ("a", "b"), (16, 16))
    model = Reprogrammed(source, Affine(), mapping)
    model.transformation.bind(source, spec)
    model.mapping.bind(source, spec)
    x = torch.randn(32, 2, generator=torch.Generator().manual_seed(0))
    batch = x, (x[:, 0] > x[:, 1]).long(), torch.ones(32)
    return lambda step: BatchObjective(model, CrossEntropy(), batch, seed=0, step=step)


def learn(source: Source, optimizer: Any, steps: int) -> tuple[list[float], Any]:
    """Losses, and the optimiser."""
    objective = a_program(source, ManyToOne())
    model = objective(0).model
    optimizer.bind(model.transformation, model.mapping, steps)
    return [float(optimizer.step(objective(step))) for step in range(steps)], optimizer


ADAM = partial(torch.optim.Adam, lr=0.1)


@pytest.mark.parametrize("decimals", [2, 3, None])
def test_coarse_scores_are_learned_from(decimals: int | None) -> None:
    with quiet():
        losses, spsa = learn(coarse(decimals), SPSA(ADAM, directions=4), 40)
    assert (spsa.size > 1e-3) == (decimals is not None)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_labels_alone_are_learned_from() -> None:
    with quiet():
        source = black_box(linear_source(), Scores.LABEL)
        losses, _ = learn(source, SPSA(ADAM, directions=4), 60)
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


@pytest.mark.parametrize(
    ("source", "c"),
    [(coarse(2), 1e-6), (coarse(3), 1e-6), (coarse(None), 1e-6), (linear_source(), 1e-9),
     (black_box(linear_source(), Scores.LABEL), 1e-6)],
    ids=["2 decimals", "3 decimals", "half", "single", "label"],
)  # fmt: skip
def test_a_size_below_the_noise_floor_is_doubled_with_one_warning(source: Source, c: float) -> None:
    with quiet() as told:
        _, spsa = learn(source, SPSA(ADAM, c=c, gamma=0.0, directions=5), 40)
    assert spsa.floor.factor >= 4
    assert sum(VANISH in line for line in told) == 1


def test_a_size_that_shows_is_left_alone() -> None:
    with quiet() as told:
        _, spsa = learn(black_box(linear_source()), SPSA(ADAM, directions=5), 20)
    assert spsa.floor.factor == spsa.divergence.factor == 1
    assert not told


def test_a_minimum_is_no_noise_floor() -> None:
    """The mean stands still there, and each sample still wants to go its own way."""
    w = torch.zeros(6)
    wants = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    wants = wants - wants.mean(0)
    spsa = SPSA(partial(torch.optim.SGD, lr=0.0), directions=5)
    objective = Losses(lambda p: (p[:, None] - wants).square().sum(2))
    spsa.bind(Vector(w), NOTHING, 20)
    for _ in range(20):
        spsa.step(objective)
    assert spsa.floor.factor == 1


def test_doubling_ends_at_the_ladders_top() -> None:
    floor = Floor()
    with quiet() as told:
        for _ in range(40):
            floor.see(torch.ones(WINDOW, 3), 5.0)
    assert floor.factor == 5.0
    assert len(told) == 1


# --- the step's size -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [SPSA, RandomDirections, partial(NES, ranks=False)])
@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e4])
@pytest.mark.filterwarnings("ignore:the loss has risen")
@pytest.mark.filterwarnings("ignore:most differences vanish")
def test_a_learning_rate_is_in_units_of_the_parameters(make: Any, unit: float) -> None:
    def run(unit: float, calibrate: bool = True) -> Tensor:
        vector = Vector(torch.linspace(-1, 1, 8, dtype=torch.float64))
        optimizer = make(partial(torch.optim.SGD, lr=0.01), c=0.01, calibrate=calibrate)
        optimizer.bind(vector, NOTHING, 20)
        for _ in range(20):
            optimizer.step(Losses(lambda w: unit * smooth(w)))
        return flatten(vector.parameters())

    torch.testing.assert_close(run(unit), run(1.0))
    assert torch.allclose(run(unit, calibrate=False), run(1.0, calibrate=False)) == (unit == 1)


def test_the_gain_is_the_root_mean_square_of_ten() -> None:
    gain, drawn = Gain(), torch.randn(14, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(gain(torch.zeros(5)), torch.zeros(5))
    for k, g in enumerate(drawn):
        seen = drawn[: min(k + 1, 10)].square().mean().sqrt()
        torch.testing.assert_close(gain(g), g / seen)


# --- trouble -------------------------------------------------------------------------------------


def test_steps_that_go_up_are_halved_with_one_warning() -> None:
    """On a quadratic that a step of this size leaves, and half of it does not."""
    vector = Vector(torch.full((4,), 0.1, dtype=torch.float64))
    curved = lambda w: (w.square() * 10).sum(1, keepdim=True) + 1  # noqa: E731
    spsa = SPSA(partial(torch.optim.SGD, lr=0.102), c=1e-3, gamma=0.0, directions=4,
                orthogonal=True, calibrate=False)  # fmt: skip
    spsa.bind(vector, NOTHING, 200)
    with quiet() as told:
        losses = [float(spsa.step(Losses(curved))) for _ in range(200)]
    assert max(losses) > 1.5
    assert losses[-1] < 1.01
    assert sum(RISEN in line for line in told) == 1
    assert spsa.divergence.factor == 0.5


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("batch", [1, 5, 40])
def test_divergence_is_told_from_noise(sign: int, batch: int) -> None:
    noise = torch.randn(300, 4, batch, generator=torch.Generator().manual_seed(0))
    calm, rising = Divergence(), Divergence()
    with quiet() as told:
        for k, e in enumerate(noise):
            calm.see(sign * 3 + e - k / 100)
        assert calm.factor == 1
        for k, e in enumerate(noise):
            rising.see(sign * 3 + e + k / 10)
        assert rising.factor < 1
    assert len(told) == 1


def test_what_goes_wrong_at_once_is_seen() -> None:
    guard = Divergence()
    with quiet() as told:
        for k in range(12):
            guard.see(torch.full((2, 20), 1.0 if k == 0 else 20.0 + k))
    assert guard.factor < 1 and len(told) == 1


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize(
    "make",
    [
        partial(SPSA, directions=12, c=0.1),
        partial(RandomDirections, directions=12, c=0.1),
        partial(NES, directions=12, c=0.1),
        partial(NES, directions=12, c=0.1, ranks=False),
        partial(CMAES, sigma=0.3, population=20),
    ],
)
def test_a_loss_that_is_not_finite_is_very_bad(make: Any, value: float) -> None:
    """On one side of a wall there is no loss; the estimate leads away from it."""

    def wall(w: Tensor) -> Tensor:
        behind = torch.full((len(w), 2), value)
        return torch.where(w[:, :1] > 0.0, behind, 1 - 0.01 * w[:, :1])

    vector, behind = Vector(torch.zeros(3)), nn.Linear(1, 1)
    before = flatten(behind.parameters())
    optimizer = make()
    optimizer.bind(vector, behind, 5)
    for _ in range(5):
        tail = behind.bias.sum()
        loss = optimizer.step(Losses(lambda w, tail=tail: wall(w) + tail))
        assert loss.isfinite()
    assert flatten(vector.parameters()).isfinite().all()
    assert vector.w[0] <= 0
    assert torch.equal(flatten(behind.parameters()), before)  # sat out what had no gradient


def test_nothing_finite_is_told() -> None:
    spsa = SPSA(c=0.1)
    spsa.bind(Vector(torch.zeros(3)), NOTHING, 1)
    assert spsa.step(Losses(lambda w: w[:, :1] * torch.nan)).isnan()


# --- resumed -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [1, 4, 12, 30])
@pytest.mark.parametrize(
    ("function", "lr", "c"),
    [(rounded(0.05), 0.05, None), (smooth, 5.0, None), (rounded(0.01), 0.01, 1e-5)],
    ids=["coarse", "diverging", "below the floor"],
)
def test_a_resumed_run_knows_what_the_first_learned(
    function: Callable[[Tensor], Tensor], lr: float, c: float | None, at: int
) -> None:
    def begin() -> tuple[Vector, SPSA]:
        vector = Vector(torch.linspace(-1, 1, 8))
        optimizer = SPSA(partial(torch.optim.SGD, lr=lr), c=c, directions=3)
        optimizer.bind(vector, NOTHING, 60)
        return vector, optimizer

    def go(optimizer: SPSA, steps: int) -> Losses:
        objective = Losses(function)
        for _ in range(steps):
            optimizer.step(objective)
        return objective

    with quiet():
        whole, unbroken = begin()
        go(unbroken, 60)
        halves, broken = begin()
        go(broken, at)
        again, resumed = begin()
        again.load_state_dict(halves.state_dict())
        resumed.load_state_dict(broken.state_dict())
        assert not go(resumed, 60 - at).tried  # what was paid for is not asked again
    assert torch.equal(again.w, whole.w)
    assert resumed.state_dict()["floor"] == unbroken.state_dict()["floor"]
    assert (unbroken.divergence.factor < 1) == (lr > 1)
    assert c is None or unbroken.floor.factor > 4


def test_a_trained_mapping_learns_nothing_from_calibration() -> None:
    built = a_program(black_box(linear_source()), Linear())(0)
    transformation, mapping = built.model.transformation, built.model.mapping
    grads = []
    for c in (None, 1e-3):
        spsa = SPSA(partial(torch.optim.SGD, lr=0.0), c=c, gamma=0.0)
        spsa.bind(transformation, mapping, 1)
        spsa.step(built)
        grads.append([p.grad.clone() for p in mapping.parameters()])  # pyright: ignore
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)
