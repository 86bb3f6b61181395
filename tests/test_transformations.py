"""The laws of input transformations; a new part joins by one line of ``CASES``."""

import json
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from doors import (
    multispectral_task,
    open_image_source,
    table_task,
)
from safetensors.torch import load_file, save_file
from tiny import SIDE, image_source, image_task, series_task, speech_source
from tiny_text import text_task
from torch import Tensor

from reprogram import parts, sources, transformations
from reprogram.sources import TorchSource
from reprogram.transformations import (
    BasisOverlay,
    Channels,
    Characters,
    Compose,
    Coordinator,
    Crop,
    DiscreteOverlay,
    Flip,
    Frame,
    ModulateSeries,
    Overlay,
    PadSeries,
    Patches,
    Resize,
    SampleMask,
    ScaledFrame,
    SeriesToFeatures,
    Subspace,
    TableOverlay,
    Transformation,
)
from reprogram.types import TaskSpec, UserError


class Case(NamedTuple):
    make: Callable[[], Transformation]
    source: Callable[[], TorchSource]
    task: Callable
    bounded: bool = True  # whether the result is promised to be inside the source's bounds
    gradient: bool = True  # whether one passes; a discrete part refuses


def _waveform() -> TorchSource:
    return speech_source().door("waveform")


def _features() -> TorchSource:
    return speech_source().door("features")


def _resized(part: Transformation) -> Compose:
    return Compose([Resize(SIDE), part])


CASES = {
    "PadSeries": Case(lambda: PadSeries(clip=True, seed=3), _waveform, series_task),
    "PadSeries segments": Case(
        lambda: PadSeries(segments=3, dropout=0.4, clip=True), _waveform, series_task
    ),
    "PadSeries unmasked": Case(lambda: PadSeries(mask=False, clip=True), _waveform, series_task),
    "ModulateSeries": Case(lambda: ModulateSeries(base=4.0), _waveform, series_task),
    "ModulateSeries dropout": Case(
        lambda: ModulateSeries(base=3.0, level=1.0, depth=0.0, dropout=0.2), _waveform, series_task
    ),
    "SeriesToFeatures": Case(lambda: SeriesToFeatures(), _features, series_task),
    "SeriesToFeatures hidden": Case(
        lambda: SeriesToFeatures(width=3, hidden=5, dropout=0.3), _features, series_task
    ),
    "Frame": Case(Frame, image_source, image_task),
    "Frame sigmoid": Case(lambda: Frame(squash="sigmoid"), image_source, image_task),
    "Frame clamp": Case(lambda: Frame(squash="clamp"), image_source, image_task),
    "Resize and Frame": Case(lambda: Compose([Resize(15), Frame()]), image_source, image_task),
    "Resize and Overlay": Case(
        lambda: Compose([Resize(SIDE), Overlay(strength=0.5)]), image_source, image_task
    ),
    "Overlay border": Case(
        lambda: Compose([Resize(SIDE), Overlay(width=3, start="normal", seed=4)]),
        image_source,
        image_task,
    ),
    "Overlay unbounded": Case(
        lambda: Compose([Resize(SIDE), Overlay(squash="none", start="normal")]),
        open_image_source,
        image_task,
        bounded=False,
    ),
    "Crop, Flip and Overlay": Case(
        lambda: Compose([Resize(SIDE), Crop(padding=3), Flip(), Overlay(squash="sigmoid")]),
        image_source,
        image_task,
    ),
    "Crop enlarged": Case(
        lambda: Compose([Resize(12), Crop(enlarge=True), Frame()]), image_source, image_task
    ),
    "SampleMask": Case(
        lambda: Compose([Resize(SIDE), SampleMask(seed=2)]),
        image_source,
        image_task,
        bounded=False,
    ),
    "SampleMask inside": Case(
        lambda: Compose([Resize(SIDE), SampleMask(layers=6, patch=4, squash="tanh")]),
        image_source,
        image_task,
    ),
    "ScaledFrame": Case(ScaledFrame, image_source, image_task),
    "ScaledFrame fixed": Case(
        lambda: ScaledFrame(scale=1.7, trainable=False, squash="tanh"), image_source, image_task
    ),
    "TableOverlay": Case(TableOverlay, image_source, table_task),
    "TableOverlay host": Case(
        lambda: TableOverlay(size=SIDE, colour="grey", squash="clamp"), image_source, table_task
    ),
    "TableOverlay colour": Case(lambda: TableOverlay(host="grey"), image_source, table_task),
    "Channels": Case(
        lambda: Compose([Channels(), Resize(12), Frame()]), image_source, multispectral_task
    ),
    "BasisOverlay": Case(lambda: _resized(BasisOverlay()), image_source, image_task),
    "BasisOverlay border": Case(
        lambda: _resized(BasisOverlay(width=3, strength=0.4, squash="sigmoid")),
        image_source,
        image_task,
    ),
    "BasisOverlay dct": Case(
        lambda: _resized(BasisOverlay(basis="dct", size=5, colour=False, squash="clamp")),
        image_source,
        image_task,
    ),
    "BasisOverlay random": Case(
        lambda: _resized(BasisOverlay(basis="random", size=30, width=4, squash="none", seed=2)),
        open_image_source,
        image_task,
        bounded=False,
    ),
    "Coordinator": Case(lambda: _resized(Coordinator()), image_source, image_task),
    "Coordinator encoder": Case(
        lambda: _resized(
            Coordinator(
                sources.load("zoo:images"), strength=0.3, grid=3, widths=[6], start="zeros"
            )
        ),
        image_source,
        image_task,
    ),
    "DiscreteOverlay": Case(
        lambda: _resized(DiscreteOverlay(size=6, levels=5, strength=0.6)),
        image_source,
        image_task,
        gradient=False,
    ),
    "Subspace of Frame": Case(
        lambda: Subspace(Compose([Resize(12), Frame()]), 20), image_source, image_task
    ),
    "Subspace of SampleMask": Case(
        lambda: _resized(Subspace(SampleMask(squash="tanh"), 40, seed=1)), image_source, image_task
    ),
    "Subspace of SeriesToFeatures": Case(
        lambda: Subspace(SeriesToFeatures(width=3, hidden=5, dropout=0.3), 8),
        _features,
        series_task,
    ),
    "Subspace of a Subspace": Case(
        lambda: Subspace(Subspace(PadSeries(clip=True), 20), 4), _waveform, series_task
    ),
    "Characters and Patches": Case(
        lambda: Compose([Characters(list("ACGT"), 8), Patches(places=True)]),
        image_source,
        text_task,
    ),
    "Patches bounded": Case(
        lambda: Compose(
            [Characters(list("ACG"), 5), Patches(size=6, strength=0.2, base="uniform")]
        ),
        image_source,
        text_task,
    ),
    "nested": Case(
        lambda: Compose([Compose([Resize(5), Resize(SIDE)]), Overlay(squash="clamp")]),
        image_source,
        image_task,
    ),
}  # fmt: skip


# Parts that read texts, or write tokens, noise or states, stand in tests of their own.
APART = ("tokens", "vocabulary", "prompts", "noise", "automata")


@pytest.fixture(params=CASES, name="case")
def _case(request) -> Case:
    return CASES[request.param]


class Bound(NamedTuple):
    part: Transformation
    source: TorchSource
    spec: TaskSpec
    x: Tensor


def bound(case: Case) -> Bound:
    """The part in evaluation mode, its parameters moved away from where they start."""
    part, source, task = case.make(), case.source(), case.task()
    part.bind(source, task.spec)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in part.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return Bound(part.eval(), source, task.spec, task.train.inputs[:5])


def test_every_public_part_stands_under_the_laws() -> None:
    tested = {type(m).__name__ for case in CASES.values() for m in case.make().modules()}
    public = {n for n in transformations.__all__
              if getattr(transformations, n).__module__.split(".")[2] not in APART}  # fmt: skip
    assert public - {"Transformation"} <= tested


def test_output_is_what_the_source_takes(case: Case) -> None:
    part, source, _, x = bound(case)
    y = part(part.prepare(x))
    assert y.shape == (len(x), *source.input.shape)
    assert y.dtype == torch.float32
    assert source(y).isfinite().all()


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_output_is_inside_the_bounds(case: Case, scale: float) -> None:
    part, source, _, x = bound(case)
    if not case.bounded:
        pytest.skip("promises no bounds")
    with torch.no_grad():
        for parameter in part.parameters():
            parameter *= scale
    y = part(part.prepare(x))
    assert y.isfinite().all()
    assert y.min() >= source.input.lower - 1e-6
    assert y.max() <= source.input.upper + 1e-6


def test_gradient_reaches_every_parameter_and_none_of_the_source(case: Case) -> None:
    part, source, _, x = bound(case)
    assert list(part.parameters())
    part.train()
    loss = source(part(part.prepare(x))).square().sum()
    if not case.gradient:
        with pytest.raises(UserError, match="no gradient passes"):
            loss.backward()
        return
    loss.backward()
    for name, parameter in part.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    assert all(p.grad is None for p in source.parameters())


def test_prepare_depends_on_no_parameter(case: Case) -> None:
    part, _, _, x = bound(case)
    before = part.prepare(x).clone()
    assert not before.requires_grad
    with torch.no_grad():
        for parameter in part.parameters():
            parameter += 1
    assert torch.equal(part.train().prepare(x), before)


def test_nothing_given_is_changed(case: Case) -> None:
    part, _, _, x = bound(case)
    kept = x.clone()
    prepared = part.prepare(x)
    seen = prepared.clone()
    part.train()(prepared)
    part.eval()(prepared)
    assert torch.equal(x, kept)
    assert torch.equal(prepared, seen)


def test_samples_do_not_see_one_another(case: Case) -> None:
    part, _, _, x = bound(case)
    together = part(part.prepare(x))
    alone = torch.cat([part(part.prepare(x[i : i + 1])) for i in range(len(x))])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_an_empty_batch_passes(case: Case) -> None:
    part, source, _, x = bound(case)
    assert part(part.prepare(x[:0])).shape == (0, *source.input.shape)


def test_evaluation_repeats_and_only_what_draws_varies(case: Case) -> None:
    part, _, _, x = bound(case)
    assert torch.equal(part(part.prepare(x)), part(part.prepare(x)))
    prepared = part.prepare(x)
    part.train()
    draws = part.random or any(getattr(m, "dropout", 0) for m in part.modules())
    assert torch.equal(part(prepared), part(prepared)) == (not draws)


def test_described_and_built_again(case: Case) -> None:
    part = case.make()
    described = json.loads(json.dumps(parts.describe(part)))
    again = parts.build("transformations", described)
    assert parts.describe(again) == described
    source, task = case.source(), case.task()
    x = task.train.inputs[:3]
    outputs = []
    for one in (part, again):
        one.eval().bind(source, task.spec)
        outputs.append(one(one.prepare(x)))
    assert torch.equal(*outputs)


def test_saved_and_loaded_gives_the_same(case: Case, tmp_path) -> None:
    part, source, spec, x = bound(case)
    save_file(part.state_dict(), tmp_path / "part.safetensors")
    again = case.make()
    again.bind(source, spec)
    again.load_state_dict(load_file(tmp_path / "part.safetensors"))
    assert torch.equal(again.eval()(again.prepare(x)), part(part.prepare(x)))


def test_bound_twice_is_bound_the_same(case: Case) -> None:
    part, source, task = case.make(), case.source(), case.task()
    states = []
    for _ in range(2):
        torch.rand(3)  # the global generator has no say
        part.bind(source, task.spec)
        states.append({name: t.clone() for name, t in part.state_dict().items()})
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("make", [PadSeries, ModulateSeries, SeriesToFeatures])
def test_the_seed_draws_the_program(make) -> None:
    case = next(c for c in CASES.values() if type(c.make()) is make)
    flat = []
    for seed in (0, 1):
        part = make(seed=seed)
        part.bind(case.source(), case.task().spec)
        flat.append(torch.cat([p.detach().flatten() for p in part.parameters()]))
    assert not torch.isclose(*flat).any()


# --- several parts, and what is refused ----------------------------------------------------------


def test_compose_prepares_what_comes_before_the_first_parameter() -> None:
    part = Compose([Resize(5), Compose([Resize(15)]), Frame()])
    part.bind(image_source(), image_task().spec)
    x = image_task().train.inputs[:2]
    prepared = part.prepare(x)
    assert prepared.shape == (2, 1, 15, 15)
    frame = part.parts[2]
    expected = frame(frame.prepare(Resize(15)(Resize(5)(x))))
    assert torch.equal(part(prepared), expected)


def test_compose_caches_nothing_that_is_drawn_at_random() -> None:
    part = Compose([Resize(SIDE), Compose([Crop(), Flip()]), Overlay()])
    part.bind(image_source(), image_task().spec)
    x = image_task().train.inputs[:8]
    assert part.random
    assert torch.equal(part.prepare(x), Resize(SIDE)(x))
    assert not torch.equal(part(part.prepare(x)), part(part.prepare(x)))
    assert not Compose([Resize(8), Frame()]).random


def test_the_global_generator_is_left_alone(case: Case) -> None:
    state = torch.random.get_rng_state()
    part, source, task = case.make(), case.source(), case.task()
    part.bind(source, task.spec)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_picture_is_an_image_of_the_source(case: Case) -> None:
    part, source, _, _ = bound(case)
    if source.input.kind != "image":
        assert part.picture() is None
        return
    picture = part.picture()
    assert picture is not None
    assert picture.shape == source.input.shape
    assert picture.isfinite().all()


def test_compose_takes_parts_that_write_the_input_only_last() -> None:
    with pytest.raises(UserError, match="Frame writes the source's input: it must come last"):
        Compose([Frame(), Resize(5)]).bind(image_source(), image_task().spec)
    with pytest.raises(UserError, match="'parts' of Compose is empty"):
        Compose([])
