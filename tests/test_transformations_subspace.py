"""Programs sought in a random subspace."""

import math
from functools import partial

import pytest
import torch
from doors import image_door, images, series, waveform_door
from tiny import SIDE, black_box, image_source, image_task, series_task, speech_source
from typechecker import unchecked

import reprogram
from reprogram.criteria import CrossEntropy
from reprogram.mappings import Fixed
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.optim import SPSA, Backprop
from reprogram.program import Program
from reprogram.train import Training
from reprogram.transformations import (
    Compose,
    Crop,
    DiscreteOverlay,
    Frame,
    Overlay,
    PadSeries,
    Resize,
    SampleMask,
    ScaledFrame,
    SeriesToFeatures,
    Subspace,
    Transformation,
)
from reprogram.types import UserError


def _speech(door: str):
    return lambda: speech_source().door(door)


PARTS = {
    "Frame": (lambda: Frame(), image_source, image_task),
    "Compose": (lambda: Compose([Resize(12), Frame()]), image_source, image_task),
    "ScaledFrame": (ScaledFrame, image_source, image_task),
    "SampleMask": (lambda: Compose([Resize(SIDE), SampleMask()]), image_source, image_task),
    "PadSeries": (lambda: PadSeries(seed=3), _speech("waveform"), series_task),
    "SeriesToFeatures": (lambda: SeriesToFeatures(width=3), _speech("features"), series_task),
}


@pytest.mark.parametrize("name", PARTS)
def test_it_is_the_inner_part_at_start_plus_b_z(name: str) -> None:
    make, source, task = PARTS[name]
    inner, part, spec = make(), Subspace(make(), 5, seed=2), task().spec
    inner.bind(source(), spec)
    part.bind(source(), spec)
    generator = torch.Generator().manual_seed(0)
    part.z.data = 0.2 * torch.randn(5, generator=generator)
    signed = torch.cat([part.z, -part.z]).detach()[part.place]
    at = 0
    for parameter in inner.parameters():
        parameter.data += signed[at : at + parameter.numel()].reshape(parameter.shape)
        at += parameter.numel()
    assert at == len(part.place)
    x = task().train.inputs[:4]
    assert torch.equal(inner.prepare(x), part.prepare(x))
    for mode in (True, False):
        inner.train(mode)
        part.train(mode)
        assert torch.equal(part(part.prepare(x)), inner(inner.prepare(x)))
    pictures = part.picture(), inner.picture()
    assert all(p is None for p in pictures) or torch.equal(*pictures)
    kept = {n.removeprefix("inner."): t for n, t in part.state_dict().items() if n != "z"}
    moved = dict(inner.named_buffers())
    assert kept.keys() == inner.state_dict().keys() - dict(inner.named_parameters()).keys()
    assert all(torch.equal(t, moved[n]) for n, t in kept.items())  # running statistics, too


@pytest.mark.parametrize("name", PARTS)
def test_z_alone_is_trained_and_has_the_projected_gradient(name: str) -> None:
    make, source, task = PARTS[name]
    inner, part, spec = make(), Subspace(make(), 5), task().spec
    for one in (inner, part):
        one.bind(source(), spec)
    assert [n for n, _ in part.named_parameters()] == ["z"]
    x = task().train.inputs[:4]
    for one in (inner, part):
        one(one.prepare(x)).square().sum().backward()
    g = torch.cat([p.grad.reshape(-1) for p in inner.parameters()])
    assert part.z.grad is not None
    b = torch.zeros(len(g), 5)
    b[torch.arange(len(g)), part.place % 5] = 1.0 - 2 * (part.place >= 5)
    torch.testing.assert_close(part.z.grad, b.T @ g, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 7, 100, 1104])
def test_columns_are_orthogonal_and_each_coefficient_has_its_share(size: int) -> None:
    part = Subspace(Frame(), size)
    part.bind(image_door(20), images(4, 8))  # 3 * (400 - 32) parameters
    share = (part.place % size).bincount(minlength=size)
    assert share.sum() == 1104
    assert share.max() - share.min() <= 1
    signs = (part.place >= size).float().mean()
    assert abs(float(signs) - 0.5) < 4 / math.sqrt(1104)


def test_the_seed_draws_the_projection() -> None:
    parts = [Subspace(Frame(), 9, seed=seed) for seed in (0, 0, 1)]
    for part in parts:
        part.bind(image_door(16), images(8, 8))
    assert torch.equal(parts[0].place, parts[1].place)
    assert not torch.equal(parts[0].place, parts[2].place)


def test_what_is_not_the_parameters_goes_through() -> None:
    inner = Compose([Resize(SIDE), Crop(padding=2), Overlay()])
    part = Subspace(inner, 3)
    part.bind(image_source(), image_task().spec)
    assert part.random
    assert not Subspace(Frame(), 3).random
    assert Subspace(Resize(7), 3).after(images(8, 8)).input.shape == (1, 7, 7)
    steps = []
    inner.advance = lambda step, steps_: steps.append((step, steps_))
    part.advance(2, 9)
    assert steps == [(2, 9)]


def test_a_discrete_part_is_sampled_within_the_subspace() -> None:
    part = Subspace(DiscreteOverlay(size=4), 6)
    part.bind(image_door(8), images(8, 8))
    x, log_p = part.sample(part.prepare(torch.rand(2, 1, 8, 8)), 5)
    assert x.shape == (5, 2, 3, 8, 8)
    (log_p * torch.arange(10.0).reshape(5, 2)).sum().backward()
    assert part.z.grad is not None
    assert part.z.grad.any()


def test_running_statistics_move_once_a_step() -> None:
    source, task = image_source(), image_task()
    part, mapping = Subspace(Compose([Resize(20), SampleMask()]), 10), Fixed()
    for each in (part, mapping):
        each.bind(source, task.spec)
    model = Reprogrammed(source, part, mapping).train()
    x, y, w = task.train.batch(torch.arange(8))
    objective = BatchObjective(model, CrossEntropy(), (part.prepare(x), y, w), seed=0, step=0)
    (counter,) = {n for n in part.state_dict() if n.endswith("network.1.num_batches_tracked")}
    objective()
    assert part.get_buffer(counter) == 1
    z = part.z.detach()
    objective(torch.stack([z, z + 0.1, z - 0.1]))
    assert part.get_buffer(counter) == 2


@pytest.mark.parametrize("optimizer", [Backprop, SPSA])
def test_a_fitted_program_holds_z_and_is_loaded_again(optimizer, tmp_path) -> None:
    source, task = image_source(), image_task()
    given = source if optimizer is Backprop else black_box(source)
    part = Compose([Resize(SIDE), Subspace(SampleMask(squash="tanh"), 12)])
    training = Training(
        source=given, transformation=part, mapping=Fixed(), epochs=2, batch_size=10,
        optimizer=optimizer(partial(torch.optim.Adam, lr=0.1)),
    )  # fmt: skip
    program = reprogram.fit(training, task)
    assert program.trained == 12
    program.save(tmp_path / "run")
    again = Program.load(tmp_path / "run", given)
    z = again.transformation.get_parameter("parts.1.z")
    assert z.abs().max() > 0
    x = task.test.inputs
    assert torch.equal(again.predict(x).probabilities, program.predict(x).probabilities)


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_below_one_is_refused(size: int) -> None:
    with unchecked(), pytest.raises(UserError, match=f"'size' is {size}"):
        Subspace(Frame(), size)


@pytest.mark.parametrize(
    ("inner", "size", "source", "task", "said"),
    [
        (Frame(), 577, image_door(16), images(8, 8), "Subspace is 577, and Frame has 576 param"),
        (Resize(8), 1, image_door(8), images(8, 8), "Resize has 0 parameters; it needs some"),
        (PadSeries(), 9, waveform_door(8), series(3), "PadSeries has .* parameters; give"),
        (Frame(), 3, waveform_door(8), images(8, 8), "writes 'image'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(inner: Transformation, size, source, task, said) -> None:
    with pytest.raises(UserError, match=said) as caught:
        Subspace(inner, size).bind(source, task)
    assert "\n" not in str(caught.value)
