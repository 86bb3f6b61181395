"""Estimates of a gradient from losses alone: bias, variance and cost against analytic values."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from tiny import Counted, linear_source
from torch import Tensor, nn

from reprogram import optim
from reprogram.criteria import CrossEntropy
from reprogram.mappings import Fixed, Linear
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.optim import NES, SPSA, Backprop, RandomDirections, ScoreFunction, flatten
from reprogram.optim.directions import centred_ranks
from reprogram.optim.zeroth import orthogonal
from reprogram.transformations import Transformation
from reprogram.types import InputSpec, TaskSpec, UserError

D = 6
NOTHING = Fixed()  # a mapping without parameters
STILL = partial(torch.optim.SGD, lr=0.0)
RAW: dict[str, Any] = {"c": 0.1, "gamma": 0.0, "calibrate": False}


class Vector(nn.Module):
    """Parameters and nothing else, in two tensors of double precision."""

    def __init__(self) -> None:
        super().__init__()
        start = torch.linspace(-1, 2, D, dtype=torch.float64)
        self.a, self.b = nn.Parameter(start[:4].clone()), nn.Parameter(start[4:, None].clone())


class Function:
    """``f(w) = g'w + w'Aw / 2`` of every sample of a batch of two, and how often it was asked."""

    def __init__(self, *, curved: bool) -> None:
        generator = torch.Generator().manual_seed(1)
        half = torch.randn(D, D, generator=generator, dtype=torch.float64)
        self.linear = torch.randn(D, generator=generator, dtype=torch.float64)
        self.matrix = half @ half.T / D if curved else torch.zeros_like(half)
        self.calls: list[Tensor] = []

    def __call__(self, parameters: Tensor | None = None, *, observe: bool = True) -> Tensor:
        assert parameters is not None
        self.calls.append(parameters.clone())
        value = parameters @ self.linear + ((parameters @ self.matrix) * parameters).sum(1) / 2
        return value[:, None] + torch.tensor([-1.0, 1.0])

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def gradient(self, w: Tensor) -> Tensor:
        return self.linear + self.matrix @ w


def estimates(make: Callable[..., Any], function: optim.Objective, n: int) -> Tensor:
    """(n, D), each from a step of its own."""
    vector = Vector()
    estimator = make()
    estimator.bind(vector, NOTHING, n)
    found = []
    for _ in range(n):
        estimator.step(function)
        found.append(torch.cat([p.grad.reshape(-1) for p in vector.parameters()]))  # pyright: ignore
    return torch.stack(found)


ESTIMATORS: dict[str, Callable[..., Any]] = {
    "signs": partial(SPSA, STILL, **RAW),
    "segmented": partial(SPSA, STILL, law="segmented", **RAW),
    "sphere": partial(RandomDirections, STILL, **RAW),
    "normal": partial(NES, STILL, ranks=False, **RAW),
    "orthogonal signs": partial(SPSA, STILL, orthogonal=True, **RAW),
    "orthogonal sphere": partial(RandomDirections, STILL, orthogonal=True, **RAW),
    "orthogonal normal": partial(NES, STILL, ranks=False, orthogonal=True, **RAW),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("directions", [1, 4])
@pytest.mark.parametrize("curved", [False, True])
def test_unbiased(name: str, directions: int, curved: bool) -> None:
    """Also on a quadratic: odd moments of the directions vanish."""
    function, n = Function(curved=curved), 200
    found = estimates(partial(ESTIMATORS[name], directions=directions), function, n)
    wanted = function.gradient(flatten(Vector().parameters()))
    error = found.std(0) / n**0.5
    assert ((found.mean(0) - wanted).abs() < 4.5 * error + 1e-9).all()
    assert (error > 1e-3 * wanted.abs()).all()  # they were estimates


# E|g' - g|^2 / |g|^2 of q directions on a linear function.
VARIANCES: dict[str, Callable[[int], float]] = {
    "signs": lambda q: (D - 1) / q,
    # sum_{j != i} E[D_j^2] E[1 / D_i^2]: 7/12 times 2
    "segmented": lambda q: (D - 1) * 7 / 6 / q,
    "sphere": lambda q: (D - 1) / q,
    "normal": lambda q: (D + 1) / q,
    "orthogonal signs": lambda q: D / q - 1,
    "orthogonal sphere": lambda q: D / q - 1,
    "orthogonal normal": lambda q: D / q - 1,
}


@pytest.mark.parametrize("name", VARIANCES)
@pytest.mark.parametrize("directions", [1, 4, D])
def test_variance_on_a_linear_function(name: str, directions: int) -> None:
    function = Function(curved=False)
    found = estimates(partial(ESTIMATORS[name], directions=directions), function, 200)
    ratio = (found - function.linear).square().sum(1) / function.linear.square().sum()
    error = float(ratio.std()) / len(ratio) ** 0.5
    assert abs(float(ratio.mean()) - VARIANCES[name](directions)) < 4.5 * error + 1e-9


def test_as_many_orthogonal_directions_as_parameters_are_the_gradient() -> None:
    function = Function(curved=True)
    make = partial(SPSA, STILL, orthogonal=True, directions=2 * D, **RAW)
    (found,) = estimates(make, function, 1)
    wanted = function.gradient(flatten(Vector().parameters()))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("n", "d"), [(1, 1), (3, 5), (5, 5), (12, 5)])
def test_orthogonal_blocks(n: int, d: int) -> None:
    drawn = orthogonal(n, d, torch.Generator().manual_seed(0)).double()
    assert drawn.shape == (n, d)
    for block in drawn.split(d):
        gram = d * torch.eye(len(block), dtype=torch.float64)
        torch.testing.assert_close(block @ block.T, gram, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("directions", [1, 3])
def test_points_and_cost(name: str, directions: int) -> None:
    """Every evaluation of a step in one call, around the parameters, at the published distance."""
    function = Function(curved=True)
    options = {**RAW, "c": 0.25, "gamma": 0.5}
    estimator = ESTIMATORS[name](directions=directions, **options)
    estimator.bind(vector := Vector(), NOTHING, 3)
    w = flatten(vector.parameters())
    for k in range(3):
        estimator.step(function)
        assert len(function.calls) == k + 1  # nothing to calibrate
        assert len(function.calls[k]) == estimator.evaluations
        steps = function.calls[k] - w
        c_k = 0.25 / (k + 1) ** 0.5
        if "sphere" in name:
            assert not steps[0].any()
            lengths = steps[1:].norm(dim=1)
            torch.testing.assert_close(lengths, torch.full_like(lengths, c_k), rtol=1e-5, atol=0)
            continue
        plus, minus = steps.chunk(2)
        torch.testing.assert_close(plus, -minus)
        if name == "signs":
            torch.testing.assert_close(plus.abs(), torch.full_like(plus, c_k))
        if name == "segmented":
            assert (plus.abs() <= c_k + 1e-12).all() and (plus.abs() >= c_k / 2 - 1e-12).all()


@pytest.mark.parametrize("make", [SPSA, RandomDirections, NES])
@pytest.mark.parametrize("directions", [1, 5])
def test_the_first_step_alone_costs_the_calibration_besides(make: Any, directions: int) -> None:
    function = Function(curved=True)
    estimator = make(directions=directions)
    estimator.bind(Vector(), NOTHING, 3)
    for _ in range(3):
        estimator.step(function)
    asked = [len(call) for call in function.calls]
    assert asked == [estimator.calibration] + [estimator.evaluations] * 3
    assert estimator.calibration > 0
    assert make(c=0.1).calibration == Backprop().calibration == ScoreFunction().calibration == 0


# --- SPSA with gradient correction, natural evolution -------------------------------------------


def test_spsa_with_gradient_correction_is_nesterov_on_spsa() -> None:
    """``m_k = b m_{k-1} + g; w <- w - a_k (g + b m_k)``, ``a_k = a / (k + o)^alpha``."""
    a, b, alpha, offset = 0.03, 0.9, 0.4, 3.0
    function, vector = Function(curved=True), Vector()
    spsa = SPSA(
        partial(torch.optim.SGD, lr=a, momentum=b, nesterov=True),
        c=0.01, gamma=0.2, law="segmented", directions=2, calibrate=False,
        scheduler=optim.decay(alpha, offset),
    )  # fmt: skip
    spsa.bind(vector, NOTHING, 20)
    w, m = flatten(vector.parameters()), torch.zeros(D, dtype=torch.float64)
    for k in range(20):
        spsa.step(function)
        plus, minus = function.calls[k].chunk(2)
        c_k = 0.01 / (k + 1) ** 0.2
        torch.testing.assert_close((plus + minus) / 2, w.expand_as(plus))
        delta = (plus - minus) / (2 * c_k)
        f = function(function.calls[k]).mean(1)
        function.calls.pop()
        slope = (f[:2] - f[2:]) / (2 * c_k)
        g = (slope[:, None] / delta).mean(0)
        m = b * m + g
        w = w - a / (k + offset) ** alpha * (g + b * m)
        torch.testing.assert_close(flatten(vector.parameters()), w)


def test_ranks_know_nothing_but_the_order() -> None:
    function = Function(curved=True)
    plain = estimates(partial(NES, STILL, directions=4, **RAW), function, 3)
    bent = Bent(curved=True)
    assert torch.equal(estimates(partial(NES, STILL, directions=4, **RAW), bent, 3), plain)


class Bent(Function):
    """The same order of losses, other losses."""

    def __call__(self, parameters: Tensor | None = None, *, observe: bool = True) -> Tensor:
        return (super().__call__(parameters).mean(1, keepdim=True) / 5).exp()


def test_ranks_lead_down() -> None:
    function = Function(curved=False)
    found = estimates(partial(NES, STILL, directions=8, **RAW), function, 300).mean(0)
    assert torch.cosine_similarity(found, function.linear, dim=0) > 0.98


@pytest.mark.parametrize("losses", [[3.0, 1.0, 2.0], [0.0, 0.0], [1.0, 1.0, 0.0, 5.0, 1.0]])
def test_centred_ranks(losses: list[float]) -> None:
    ranks = centred_ranks(torch.tensor(losses)).tolist()
    for (a, u), (b, v) in itertools.product(zip(losses, ranks, strict=True), repeat=2):
        assert (a < b) == (u < v)
    assert sum(ranks) == pytest.approx(0)
    assert all(abs(rank) <= 0.5 for rank in ranks)


# --- the score function --------------------------------------------------------------------------

VALUES = torch.tensor([[-1.0, 0.3], [0.5, -0.8], [1.5, 1.0]])


class Choice(Transformation):
    """Adds one of three rows to a table of two columns, and one of three multiples of itself."""

    def bind(self, source: Any, task: TaskSpec) -> None:
        self.first = nn.Parameter(torch.tensor([0.2, -0.4, 0.5]))
        self.second = nn.Parameter(torch.tensor([1.0, 0.0, -0.5]))

    def sample(self, prepared: Tensor, n: int) -> tuple[Tensor, Tensor]:
        laws = [torch.distributions.Categorical(logits=p) for p in (self.first, self.second)]
        i, j = (law.sample((n, len(prepared))) for law in laws)  # pyright: ignore
        return self.input(prepared, i, j), laws[0].log_prob(i) + laws[1].log_prob(j)

    def input(self, prepared: Tensor, i: Tensor, j: Tensor) -> Tensor:
        return prepared * (1 + j[..., None]) + VALUES[i]

    def forward(self, prepared: Tensor) -> Tensor:
        return self.input(prepared, self.first.argmax(), self.second.argmax())


def a_program(mapping: Any) -> tuple[Reprogrammed, Callable[[int], BatchObjective]]:
    """The model and a maker of its objectives, on five samples."""
    source = linear_source()
    spec = TaskSpec("toy", InputSpec("table", (2,)), ("a", "b"), (3, 2))
    model = Reprogrammed(source, Choice(), mapping)
    model.transformation.bind(source, spec)
    model.mapping.bind(source, spec)
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(0))
    batch = x, torch.tensor([0, 1, 0, 1, 0]), torch.tensor([1.0, 1.0, 2.0, 0.0, 1.0])
    return model, lambda step: BatchObjective(model, CrossEntropy(), batch, seed=3, step=step)


def scores(samples: int, n: int) -> tuple[Tensor, Tensor]:
    """Estimates (n, 6), and the gradient of the expected loss by enumeration of nine outcomes."""
    model, objective = a_program(Fixed())
    choice: Any = model.transformation
    built = objective(0)
    expected = torch.zeros(())
    for i, j in itertools.product(range(3), repeat=2):
        p = choice.first.softmax(0)[i] * choice.second.softmax(0)[j]
        x = choice.input(built.prepared, torch.tensor(i), torch.tensor(j))
        losses = built.criterion(model.mapping(model.source(x)), built.target, built.weight)
        expected = expected + p * losses.mean()
    wanted = torch.cat(torch.autograd.grad(expected, [choice.first, choice.second]))
    estimator = ScoreFunction(STILL, samples=samples)
    estimator.bind(model.transformation, model.mapping, n)
    found = []
    for step in range(n):
        estimator.step(objective(step))
        found.append(torch.cat([choice.first.grad, choice.second.grad]))
    return torch.stack(found), wanted


@pytest.mark.parametrize("samples", [2, 5])
def test_the_score_function_against_all_outcomes(samples: int) -> None:
    n = 250
    found, wanted = scores(samples, n)
    assert ((found.mean(0) - wanted).abs() < 4.5 * found.std(0) / n**0.5).all()
    assert wanted.norm() > 0.05


def test_leaving_one_out_lowers_the_variance(monkeypatch: pytest.MonkeyPatch) -> None:
    with_baseline = scores(4, 150)[0].var(0).sum()

    def plain(self: ScoreFunction, objective: Any) -> Tensor:
        losses, log_probability = objective.sample(self.samples)
        (losses.detach() * log_probability).mean().backward()
        return losses.mean()

    monkeypatch.setattr(ScoreFunction, "estimate", plain)
    without = scores(4, 150)[0].var(0).sum()
    assert with_baseline < 0.7 * without


def test_the_score_function_asks_once_and_the_mapping_learns_exactly() -> None:
    model, objective = a_program(Linear())
    counted = Counted(model.source)
    estimator = ScoreFunction(STILL, samples=7)
    estimator.bind(model.transformation, model.mapping, 1)
    estimator.step(built := objective(0))
    assert counted.rows == [5 * estimator.evaluations]
    found = [p.grad.clone() for p in model.mapping.parameters()]  # pyright: ignore
    (output,) = counted.outputs
    loss = built.criterion(
        model.mapping(output), built.target.repeat(7), built.weight.repeat(7)
    ).mean()
    wanted = torch.autograd.grad(loss, list(model.mapping.parameters()))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    assert all(p.grad is None for p in model.source.parameters())


def test_the_score_function_finds_the_best_outcome() -> None:
    model, objective = a_program(Fixed())
    estimator = ScoreFunction(partial(torch.optim.Adam, lr=0.1), samples=4)
    estimator.bind(model.transformation, model.mapping, 200)
    for step in range(200):
        estimator.step(objective(step))
    built, choice = objective(0), model.transformation
    losses = {
        (i, j): float(built.criterion(model.mapping(model.source(
            choice.input(built.prepared, torch.tensor(i), torch.tensor(j)))),  # pyright: ignore
            built.target, built.weight).mean())
        for i, j in itertools.product(range(3), repeat=2)
    }  # fmt: skip
    found = int(choice.first.argmax()), int(choice.second.argmax())  # pyright: ignore
    assert found == min(losses, key=lambda at: losses[at])


def test_the_score_function_wants_a_discrete_program() -> None:
    with pytest.raises(UserError, match="Still is not discrete: it has nothing to draw; use SPSA"):
        Still().sample(torch.zeros(2), 3)


class Still(Transformation):
    """Draws nothing."""
