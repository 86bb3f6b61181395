"""Optimisers: against hand-written torch loops, analytic gradients and published updates."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tiny import CLASSES, Counted, black_box, linear_source
from torch import Tensor, nn
from torch.optim import lr_scheduler

from reprogram import optim
from reprogram.criteria import CrossEntropy
from reprogram.mappings import Fixed, Linear
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.optim import (
    CMAES,
    NES,
    SPSA,
    Backprop,
    RandomDirections,
    ScoreFunction,
    flatten,
    unflatten,
)
from reprogram.transformations import Transformation
from reprogram.types import InputSpec, TaskSpec, UserError

DIM = 10


class Vector(nn.Module):
    """Parameters and nothing else, in two tensors."""

    def __init__(self, start: float = 1.0, dim: int = DIM) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.full((dim - dim // 2,), start))
        self.b = nn.Parameter(torch.full((dim // 2, 1), start))


class Quadratic:
    """``f_i(w) = (w - w*)' A (w - w*) / 2 + e_i`` for samples i whose e_i sum to zero."""

    def __init__(self, vector: Vector, dim: int = DIM) -> None:
        generator = torch.Generator().manual_seed(0)
        half = torch.randn(dim, dim, generator=generator)
        self.matrix = half @ half.T / dim + torch.eye(dim)
        self.best = torch.randn(dim, generator=generator)
        self.vector, self.calls, self.tried = vector, [], []

    def __call__(self, parameters: Tensor | None = None, *, observe: bool = True) -> Tensor:
        noise = torch.tensor([0.5, -1.0, 0.5])
        if parameters is None:
            w = torch.cat([p.reshape(-1) for p in self.vector.parameters()])
            return self.value(w) + noise
        (self.calls if observe else self.tried).append(parameters.clone())
        return torch.stack([self.value(row) + noise for row in parameters])

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def value(self, w: Tensor) -> Tensor:
        return (w - self.best) @ self.matrix @ (w - self.best) / 2

    def gradient(self) -> Tensor:
        return self.matrix @ (flatten(self.vector.parameters()) - self.best)

    def distance(self) -> float:
        return float((flatten(self.vector.parameters()) - self.best).norm())


class Losses:
    """Any function of the parameters as an objective."""

    def __init__(self, function: Callable[[Tensor | None], Tensor]) -> None:
        self.function = function

    def __call__(self, parameters: Tensor | None = None, *, observe: bool = True) -> Tensor:
        del observe
        return self.function(parameters)

    def sample(self, n: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


NOTHING = Fixed()  # a mapping without parameters

TORCH_OPTIMIZERS = {
    "SGD": partial(torch.optim.SGD, lr=0.02, momentum=0.9),
    "Adam": partial(torch.optim.Adam, lr=0.05, weight_decay=0.01),
    "AdamW": partial(torch.optim.AdamW, lr=0.05),
    "RMSprop": partial(torch.optim.RMSprop, lr=0.01),
}
SCHEDULERS: dict[str, Callable[[Any, int], Any] | None] = {
    "none": None,
    "cosine": lr_scheduler.CosineAnnealingLR,
    "the library's cosine": optim.cosine,
    "steps": lambda optimizer, steps: lr_scheduler.StepLR(optimizer, steps // 3),
    "one cycle": lambda optimizer, steps: lr_scheduler.OneCycleLR(optimizer, 0.1, steps),
    "function": lambda optimizer, steps: lr_scheduler.LambdaLR(optimizer, lambda k: 1 - k / steps),
}


@pytest.mark.parametrize("name", TORCH_OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULERS)
def test_backprop_is_the_torch_loop(name: str, schedule: str) -> None:
    make, scheduler, steps = TORCH_OPTIMIZERS[name], SCHEDULERS[schedule], 12
    ours, theirs = Vector(), Vector()
    objective, by_hand = Quadratic(ours), Quadratic(theirs)
    backprop = Backprop(make, scheduler=scheduler)
    backprop.bind(ours, NOTHING, steps)
    optimizer = make(theirs.parameters())
    schedule_by_hand = scheduler and scheduler(optimizer, steps)
    for _ in range(steps):
        loss = backprop.step(objective)
        optimizer.zero_grad()
        wanted = by_hand().mean()
        wanted.backward()
        optimizer.step()
        if schedule_by_hand is not None:
            schedule_by_hand.step()
        assert not loss.requires_grad
        assert torch.equal(loss, wanted.detach())
        assert torch.equal(flatten(ours.parameters()), flatten(theirs.parameters()))


def test_mapping_has_a_learning_rate_of_its_own() -> None:
    vector, behind = Vector(), nn.Linear(1, 1)
    backprop = Backprop(partial(torch.optim.SGD, lr=0.5), mapping_lr=0.125)
    backprop.bind(vector, behind, 1)
    before = [flatten(m.parameters()) for m in (vector, behind)]
    every = [p for module in (vector, behind) for p in module.parameters()]
    backprop.step(Losses(lambda _: torch.stack([p.sum() for p in every]).sum()[None]))
    for module, old, rate in zip((vector, behind), before, (0.5, 0.125), strict=True):
        torch.testing.assert_close(flatten(module.parameters()), old - rate)


def test_frozen_parameters_stay() -> None:
    vector = Vector()
    vector.a.requires_grad_(False)
    before = vector.a.clone()

    def part(parameters: Tensor | None) -> Tensor:
        """A quadratic of the parameters that train."""
        if parameters is None:
            return vector.b.square().sum()[None]
        return parameters.square().sum(1, keepdim=True)

    for optimizer in (Backprop(), SPSA(), CMAES()):
        optimizer.bind(vector, NOTHING, 1)
        optimizer.step(Losses(part))
    assert torch.equal(vector.a, before)


# --- estimates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "steps"),
    [
        (lambda: SPSA(partial(torch.optim.SGD, lr=0.05), directions=4, calibrate=False), 300),
        (lambda: SPSA(partial(torch.optim.SGD, lr=0.2), directions=4), 300),
        (lambda: SPSA(partial(torch.optim.Adam, lr=0.1), directions=4, orthogonal=True,
                      scheduler=optim.cosine), 200),
        (lambda: SPSA(partial(torch.optim.SGD, lr=0.2), directions=4, law="segmented",
                      scheduler=optim.decay(0.4)), 400),
        (lambda: RandomDirections(partial(torch.optim.Adam, lr=0.1), directions=8,
                                  scheduler=optim.cosine), 300),
        (lambda: NES(partial(torch.optim.Adam, lr=0.1), directions=6,
                     scheduler=optim.cosine), 300),
        (lambda: SPSA(partial(torch.optim.Adam, lr=0.1), directions=4,
                      scheduler=optim.cosine), 300),
        (lambda: CMAES(sigma=0.5), 250),
        (lambda: CMAES(sigma=0.5, diagonal=True, population=12), 500),
        (lambda: Backprop(partial(torch.optim.SGD, lr=0.1)), 300),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:most differences vanish")
def test_minimises_a_quadratic(make: Callable[[], Any], steps: int) -> None:
    vector = Vector(start=0.0)
    objective = Quadratic(vector)
    far = objective.distance()
    optimizer = make()
    optimizer.bind(vector, NOTHING, steps)
    for _ in range(steps):
        loss = optimizer.step(objective)
    assert objective.distance() < 0.02 * far
    assert float(loss) < 0.01
    assert all(len(call) == optimizer.evaluations for call in objective.calls)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: SPSA(seed=seed),
        lambda seed: RandomDirections(seed=seed),
        lambda seed: NES(seed=seed, orthogonal=True),
        lambda seed: CMAES(seed=seed),
    ],
)
def test_same_seed_same_run(make) -> None:
    def run(seed: int) -> Tensor:
        vector = Vector()
        optimizer = make(seed)
        optimizer.bind(vector, NOTHING, 5)
        for _ in range(5):
            optimizer.step(Quadratic(vector))
        return flatten(vector.parameters())

    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # pyright: ignore
    first = run(3)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])  # pyright: ignore
    torch.rand(2), np.random.rand(2)
    assert torch.equal(run(3), first)
    assert not torch.equal(run(4), first)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Backprop(partial(torch.optim.Adam, lr=0.1), scheduler=optim.cosine),
        lambda: Backprop(partial(torch.optim.SGD, lr=0.1, momentum=0.9),
                         scheduler=SCHEDULERS["function"]),
        lambda: SPSA(directions=2, scheduler=SCHEDULERS["one cycle"]),
        lambda: SPSA(partial(torch.optim.SGD, lr=5.0), scheduler=optim.decay(0.1)),
        lambda: RandomDirections(partial(torch.optim.SGD, lr=0.1), c=1e-9),
        lambda: NES(partial(torch.optim.SGD, lr=0.1), orthogonal=True, directions=3),
        lambda: CMAES(population=6),
        lambda: CMAES(diagonal=True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("at", [0, 1, 7])
@pytest.mark.filterwarnings("ignore:most differences vanish")
def test_a_saved_state_goes_on_the_same(make, at: int, tmp_path) -> None:
    whole, halves = Vector(), Vector()
    behind, behind_halves = nn.Linear(3, 2), nn.Linear(3, 2)
    behind_halves.load_state_dict(behind.state_dict())

    def steps(optimizer: Any, vector: Vector, mapping: nn.Linear, n: int) -> None:
        quadratic = Quadratic(vector)
        tail = lambda: mapping.weight.square().mean() + mapping.bias.sum().sin()  # noqa: E731
        for _ in range(n):
            optimizer.step(Losses(lambda parameters: quadratic(parameters) + tail()))

    unbroken = make()
    unbroken.bind(whole, behind, 12)
    steps(unbroken, whole, behind, 12)

    broken = make()
    broken.bind(halves, behind_halves, 12)
    steps(broken, halves, behind_halves, at)
    torch.save(broken.state_dict(), tmp_path / "state.pt")
    again, behind_again = Vector(), nn.Linear(3, 2)
    resumed = make()
    resumed.bind(again, behind_again, 12)
    again.load_state_dict(halves.state_dict())
    behind_again.load_state_dict(behind_halves.state_dict())
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    steps(resumed, again, behind_again, 12 - at)
    assert torch.equal(flatten(again.parameters()), flatten(whole.parameters()))
    assert torch.equal(flatten(behind_again.parameters()), flatten(behind.parameters()))


# --- on a source ---------------------------------------------------------------------------------


class Scale(Transformation):
    """Two parameters: a factor and an offset of a table of two columns."""

    def bind(self, source: Any, task: TaskSpec) -> None:
        self.theta = nn.Parameter(torch.tensor([0.3, 0.1]))

    def forward(self, prepared: Tensor) -> Tensor:
        return prepared * self.theta[0] + self.theta[1]


def a_program(mapping: nn.Module, *, opaque: bool = True) -> tuple[Reprogrammed, Any]:
    """The model and a maker of its objectives, on 24 samples of two classes."""
    source = linear_source()
    source = black_box(source) if opaque else source
    spec = TaskSpec("toy", InputSpec("table", (2,)), ("a", "b"), (12, 12))
    model = Reprogrammed(source, Scale(), mapping)  # pyright: ignore
    model.transformation.bind(source, spec)
    model.mapping.bind(source, spec)
    x = torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
    y = (linear_source()(1.5 * x - 0.5)[:, 1] > linear_source()(1.5 * x - 0.5)[:, 0]).long()
    batch = x, y, torch.ones(24)
    return model, lambda step: BatchObjective(model, CrossEntropy(), batch, seed=0, step=step)


@pytest.mark.parametrize(
    "make",
    [lambda: SPSA(partial(torch.optim.Adam, lr=0.05), directions=3),
     lambda: SPSA(partial(torch.optim.Adam, lr=0.05), directions=3, c=0.01),
     lambda: RandomDirections(partial(torch.optim.SGD, lr=0.05), directions=5),
     lambda: NES(partial(torch.optim.SGD, lr=0.05), directions=3, orthogonal=True),
     lambda: CMAES(sigma=0.3, population=6)],
)  # fmt: skip
@pytest.mark.parametrize("mapping", [Fixed, Linear])
def test_a_black_box_learns_with_one_source_call_a_step(make, mapping) -> None:
    model, objective = a_program(mapping())
    counted = Counted(model.source)
    optimizer = make()
    optimizer.bind(model.transformation, model.mapping, 60)
    before = objective(0)().mean().item()
    counted.rows.clear()
    for step in range(60):
        optimizer.step(objective(step))
    calibration = [24 * optimizer.calibration] if optimizer.calibration else []
    assert counted.rows == calibration + [24 * optimizer.evaluations] * 60
    assert objective(0)().mean().item() < 0.7 * before


@pytest.mark.parametrize(
    ("make", "lr"),
    [(lambda: SPSA(partial(torch.optim.SGD, lr=0.1), directions=3, c=0.01), 0.1),
     (lambda: NES(partial(torch.optim.SGD, lr=0.1), directions=3, c=0.01), 0.1),
     (lambda: RandomDirections(partial(torch.optim.SGD, lr=0.1), directions=5, c=0.01), 0.1),
     (lambda: CMAES(mapping_optimizer=partial(torch.optim.SGD, lr=0.1), population=6), 0.1)],
)  # fmt: skip
def test_the_mapping_learns_by_its_exact_gradient_on_the_outputs_seen(make, lr: float) -> None:
    model, objective = a_program(Linear())
    optimizer = make()
    optimizer.bind(model.transformation, model.mapping, 1)
    counted = Counted(model.source)
    built = objective(0)
    mapping: Any = model.mapping
    old_weight, old_bias = mapping.weight.detach().clone(), mapping.bias.detach().clone()
    optimizer.step(built)
    (output,) = counted.outputs  # (6 * 24, classes)
    centred = output - output.mean(1, keepdim=True)
    p = (centred @ old_weight.T + old_bias).softmax(1)
    error = p - nn.functional.one_hot(built.target.repeat(6), 2)  # d loss / d score
    weight, bias = error.T @ centred / len(output), error.mean(0)
    assert weight.shape == (2, CLASSES)
    torch.testing.assert_close(old_weight - mapping.weight.detach(), lr * weight)
    torch.testing.assert_close(old_bias - mapping.bias.detach(), lr * bias)


def test_spsa_agrees_with_backprop_on_a_source() -> None:
    model, objective = a_program(Linear(), opaque=False)
    exact = Backprop(partial(torch.optim.SGD, lr=0.0))
    exact.bind(model.transformation, model.mapping, 1)
    exact.step(objective(0))
    wanted = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    estimated = SPSA(partial(torch.optim.SGD, lr=0.0), directions=300, c=1e-2, calibrate=False)
    estimated.bind(model.transformation, model.mapping, 1)
    estimated.step(objective(0))
    found = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(wanted) == len(found) == 3
    theta, *mapping = zip(wanted, found, strict=True)
    assert (theta[0] - theta[1]).norm() < 4 * theta[0].norm() / 300**0.5
    for one, other in mapping:  # no estimate: the exact gradient, beside the present parameters
        torch.testing.assert_close(one, other, atol=0.02, rtol=0.02)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: SPSA(c=0.0), "'c' is 0.0"),
        (lambda: NES(c=float("inf")), "'c' is inf"),
        (lambda: RandomDirections(c=float("nan")), "'c' is nan"),
        (lambda: SPSA(directions=0), "'directions' is 0"),
        (lambda: SPSA(gamma=-0.1), "'gamma' is -0.1"),
        (lambda: SPSA(law="segmented", orthogonal=True), "leave 'law' out"),
        (lambda: ScoreFunction(samples=1), "'samples' is 1"),
        (lambda: optim.decay(-1), "'power' is -1"),
        (lambda: optim.decay(0.5, 0), "'offset' is 0"),
        (lambda: CMAES(sigma=0.0), "'sigma' is 0.0"),
        (lambda: CMAES(population=1), "'population' is 1"),
    ],
)
def test_a_bad_argument_is_named(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()


@pytest.mark.parametrize(
    ("optimizer", "transformation", "mapping", "said"),
    [
        (Backprop(), NOTHING, NOTHING, "nothing to train"),
        (SPSA(), NOTHING, nn.Linear(1, 1), "this one has no parameters"),
        (NES(), NOTHING, nn.Linear(1, 1), "NES perturbs the transformation"),
        (ScoreFunction(), NOTHING, nn.Linear(1, 1), "ScoreFunction trains what is drawn"),
        (CMAES(), NOTHING, nn.Linear(1, 1), "at least 2 parameters; the transformation has 0"),
        (CMAES(), nn.Linear(1, 1, bias=False), NOTHING, "the transformation has 1"),
        (Backprop(torch.optim.LBFGS), nn.Linear(1, 1), NOTHING, "LBFGS evaluates"),
        (Backprop(torch.optim.LBFGS), nn.Linear(1, 1), nn.Linear(1, 1), "LBFGS evaluates"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_named(optimizer, transformation, mapping, said: str) -> None:
    with pytest.raises(UserError, match=said):
        optimizer.bind(transformation, mapping, 3)


def test_default_follows_the_gradient() -> None:
    assert type(optim.default(True, learning_rate=0.1)) is Backprop
    without = optim.default(False, learning_rate=0.1, seed=7)
    assert type(without) is NES
    assert without.seed == 7 and without.ranks
    decayed = optim.default(False, learning_rate=0.1, weight_decay=0.2)
    assert isinstance(decayed, NES) and not decayed.ranks  # the penalty keeps its meaning
    for made in (optim.default(True, learning_rate=0.1, weight_decay=0.2), without):
        made.bind(Vector(), NOTHING, 4)
        assert made.torch_optimizer.defaults["lr"] == 0.1  # pyright: ignore


def test_flatten_and_unflatten_are_inverse() -> None:
    like = [torch.randn(2, 3), torch.randn(()), torch.randn(4)]
    again = unflatten(flatten(like), like)
    assert all(torch.equal(a, b) for a, b in zip(like, again, strict=True))
