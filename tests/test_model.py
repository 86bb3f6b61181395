"""The model in one line, and the objective of a batch: pure in a step."""

import copy

import pytest
import torch
from tiny import BANDS, FRAMES, Counted, black_box, series_task, speech_source
from torch import Tensor, nn

from reprogram.criteria import CrossEntropy
from reprogram.draws import forked_rng
from reprogram.mappings import Fixed, Linear, ManyToOne, Mapping
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.optim import flatten
from reprogram.transformations import Compose, PadSeries, SeriesToFeatures, Transformation
from reprogram.types import UserError


class Normed(Transformation):
    """A transformation with batch-norm of its own."""

    def bind(self, source, task) -> None:
        self.norm = nn.BatchNorm1d(1)
        self.inner = SeriesToFeatures(dropout=0.3)
        self.inner.bind(source, task)

    def forward(self, prepared: Tensor) -> Tensor:
        return self.inner(self.inner.prepare(self.norm(prepared)))


class Noting(Fixed):
    """A mapping that keeps what it is shown."""

    def observe(self, output: Tensor, target: Tensor, weight: Tensor) -> None:
        self.noted = [*getattr(self, "noted", []), (output, target, weight)]


def a_model(
    transformation: Transformation | None = None,
    mapping: Mapping | None = None,
    opaque: bool = False,
) -> Reprogrammed:
    source = speech_source().door("features")
    spec = series_task().spec
    transformation = transformation or SeriesToFeatures(dropout=0.5)
    mapping = mapping or Linear()
    for part in (transformation, mapping):
        part.bind(source, spec)
    return Reprogrammed(black_box(source) if opaque else source, transformation, mapping).train()


def objective(model: Reprogrammed, *, seed: int = 0, step: int = 0, weights=None) -> BatchObjective:
    x, y, w = series_task().train.batch(torch.arange(10))
    w = w if weights is None else torch.tensor(weights)
    batch = model.transformation.prepare(x), y, w
    return BatchObjective(model, CrossEntropy(), batch, seed=seed, step=step)


def parameters(model: Reprogrammed) -> Tensor:
    return flatten(p for p in model.transformation.parameters() if p.requires_grad)


def test_the_field_in_one_line() -> None:
    source = speech_source()
    task = series_task()
    transformation, mapping = PadSeries(), ManyToOne()
    for part in (transformation, mapping):
        part.bind(source, task.spec)
    model = Reprogrammed(source, transformation, mapping).eval()
    x = task.train.inputs[:4]
    assert isinstance(x, Tensor)
    expected = mapping(source(transformation(transformation.prepare(x))))
    assert torch.equal(model(x), expected)
    assert torch.equal(model.run(transformation.prepare(x)), expected)


def test_only_the_program_wants_a_gradient() -> None:
    model = a_model()
    model(torch.randn(2, 1, 12)).sum().backward()
    wanting = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert wanting == {"transformation", "mapping"}


def test_training_mode_does_not_reach_the_source() -> None:
    model = a_model().train()
    assert model.transformation.training and model.mapping.training
    assert not model.source.training


# --- the objective ----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda: SeriesToFeatures(dropout=0.5), Normed])
def test_the_same_step_draws_the_same(make) -> None:
    model = a_model(make())
    state = torch.get_rng_state()
    first = objective(model)()
    torch.randn(7)
    assert torch.equal(objective(model)(), first)
    assert not torch.equal(objective(model, step=1)(), first)
    assert not torch.equal(objective(model, seed=1)(), first)
    torch.set_rng_state(state)
    objective(model)()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("make", [lambda: SeriesToFeatures(dropout=0.5), Normed])
def test_equal_parameters_have_equal_losses(make) -> None:
    model = a_model(make())
    w = parameters(model)
    counted = Counted(model.source)
    losses = objective(model)(torch.stack([w, w + 0.1, w]))
    first, second, third = counted.inputs[0].chunk(3)
    assert torch.equal(first, third)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(losses[0], losses[2], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(losses[0], objective(model)())
    assert torch.equal(counted.inputs[1], first)


@pytest.mark.parametrize("opaque", [False, True])
def test_a_population_is_its_members_one_by_one_in_one_source_call(opaque: bool) -> None:
    model = a_model(opaque=opaque)
    w = parameters(model)
    population = w + 0.2 * torch.randn(5, len(w), generator=torch.Generator().manual_seed(0))
    counted = Counted(model.source)
    together = objective(model)(population)
    assert counted.rows == [50]
    assert together.shape == (5, 10)
    for row, losses in zip(population, together, strict=True):
        torch.testing.assert_close(objective(model)(row[None])[0], losses, atol=1e-5, rtol=1e-5)
    assert torch.equal(parameters(model), w)  # nothing was written


def test_a_population_reaches_the_mapping_only() -> None:
    model = a_model()
    objective(model)(parameters(model)[None]).sum().backward()
    assert all(p.grad is not None for p in model.mapping.parameters())
    assert all(p.grad is None for p in model.transformation.parameters())


def test_running_statistics_move_once_a_step_however_many_evaluations() -> None:
    one, many = a_model(Normed()), a_model(Normed())
    before = {name: b.clone() for name, b in one.named_buffers()}
    objective(one)()
    objective(many)(parameters(many)[None].repeat(3, 1))
    moved = {n for n, b in one.named_buffers() if not torch.equal(b, before[n])}
    assert moved == {f"transformation.norm.{n}" for n in
                     ("running_mean", "running_var", "num_batches_tracked")}  # fmt: skip
    for (name, left), (_, right) in zip(one.named_buffers(), many.named_buffers(), strict=True):
        torch.testing.assert_close(left, right, msg=name)


def test_rows_without_a_label_do_not_count() -> None:
    model = a_model()
    weights = [1.0, 0.0, 2.0, 0.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.0]
    losses = objective(model, weights=weights)()
    whole = objective(model)()
    w = torch.tensor(weights)
    torch.testing.assert_close(losses.mean(), (whole * w).sum() / w.sum())
    assert torch.equal(losses == 0, w == 0)
    (row,) = objective(model, weights=weights)(parameters(model)[None])
    torch.testing.assert_close(row, losses)
    assert not objective(model, weights=[0.0] * 10)().any()


def test_the_mapping_observes_every_output_with_its_share_of_the_weight() -> None:
    mapping = Noting()
    model = a_model(mapping=mapping)
    counted = Counted(model.source)
    built = objective(model, weights=[1.0, 0.0, 2.0, 0.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.0])
    built()
    (seen,) = mapping.noted
    assert torch.equal(seen[0], counted.outputs[0])
    assert not seen[0].requires_grad
    w = parameters(model)
    built(torch.stack([w, w + 0.3, w - 0.3]))
    _, (output, target, weight) = mapping.noted
    assert torch.equal(output, counted.outputs[1]) and not output.requires_grad
    assert torch.equal(target, built.target.repeat(3))
    torch.testing.assert_close(weight.reshape(3, -1).sum(0), built.weight)
    assert (weight.reshape(3, -1) == weight[:10]).all()


@pytest.mark.parametrize("population", [False, True])
def test_a_call_that_is_not_observed_leaves_no_trace(population: bool) -> None:
    mapping = Noting()
    model = a_model(Normed(), mapping)
    w = parameters(model)[None].repeat(2, 1) if population else None
    before = {name: b.clone() for name, b in model.named_buffers()}
    unseen = objective(model)(w, observe=False)
    assert not hasattr(mapping, "noted")
    if population:  # one's own parameters run as they are: their statistics move
        assert all(torch.equal(b, before[name]) for name, b in model.named_buffers())
    torch.testing.assert_close(objective(model)(w), unseen)
    assert len(mapping.noted) == 1


# --- discrete programs ------------------------------------------------------------------------


class Bits(Transformation):
    """Sets each of the features to one of two values, drawn for each sample."""

    def bind(self, source, task) -> None:
        self.logits = nn.Parameter(torch.linspace(-1, 1, FRAMES * BANDS).reshape(FRAMES, BANDS))

    def sample(self, prepared: Tensor, n: int) -> tuple[Tensor, Tensor]:
        law = torch.distributions.Bernoulli(logits=self.logits)
        drawn = law.sample((n, len(prepared)))  # pyright: ignore[reportArgumentType]
        return drawn + prepared.mean((1, 2))[:, None, None], law.log_prob(drawn).sum((2, 3))


def test_draws_go_out_in_one_call_with_their_graphs_apart() -> None:
    model = a_model(Bits())
    counted = Counted(model.source)
    losses, log_probability = objective(model).sample(3)
    assert counted.rows == [30]
    assert losses.shape == log_probability.shape == (3, 10)
    losses.sum().backward()
    assert all(p.grad is not None for p in model.mapping.parameters())
    assert all(p.grad is None for p in model.transformation.parameters())
    log_probability.sum().backward()
    assert all(p.grad is not None for p in model.transformation.parameters())
    again, _ = objective(model).sample(3)
    other, _ = objective(model, step=1).sample(3)
    assert torch.equal(again, losses) and not torch.equal(other, losses)
    drawn = counted.inputs[0].reshape(3, 10, -1)
    assert not torch.equal(drawn[0], drawn[1])


def test_a_chain_draws_by_its_last_part() -> None:
    class Doubled(Transformation):
        def forward(self, prepared: Tensor) -> Tensor:
            return 2 * prepared

        def after(self, task):
            return task

    def seen(transformation: Transformation) -> Tensor:
        model = a_model(transformation)
        counted = Counted(model.source)
        objective(model).sample(2)
        return counted.inputs[0]

    x, _, _ = series_task().train.batch(torch.arange(10))
    alone, chained = seen(Bits()), seen(Compose([Doubled(), Bits()]))
    moved = x.mean((1, 2)).repeat(2)[:, None, None].expand_as(alone)
    torch.testing.assert_close(chained - alone, moved)


def test_a_chain_that_trains_holds_no_graph_of_its_step() -> None:
    class Scaled(Transformation):
        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.tensor(2.0))

        def forward(self, prepared: Tensor) -> Tensor:
            return self.by * prepared

        def after(self, task):
            return task

    for last in (SeriesToFeatures(), Bits()):
        chain = Compose([Scaled(), last])
        built = objective(a_model(chain))
        if isinstance(last, Bits):
            built.sample(2)
        else:
            built().sum().backward()
            assert chain.parts[0].by.grad.abs() > 0  # pyright: ignore
        assert not chain._met.requires_grad  # pyright: ignore
        copied = copy.deepcopy(chain)  # what has a graph cannot be copied
        assert torch.equal(flatten(copied.parameters()), flatten(chain.parameters()))


def test_what_is_not_discrete_has_nothing_to_draw() -> None:
    with pytest.raises(UserError, match="SeriesToFeatures is not discrete"):
        objective(a_model()).sample(2)


def test_forked_rng_leaves_no_trace_even_on_failure() -> None:
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match="inside"), forked_rng(3, 4):
        torch.rand(5)
        raise ValueError("inside")
    assert torch.equal(torch.get_rng_state(), state)
    with forked_rng(-3, 0):
        torch.rand(1)


def test_the_tiny_door() -> None:
    assert a_model().source.input.shape == (FRAMES, BANDS)
