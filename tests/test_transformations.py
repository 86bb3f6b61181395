"""The laws of input transformations; a new part joins by one line of ``CASES``."""

import json
import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import BANDS, FRAMES, SIDE, WINDOW, image_source, image_task, series_task, speech_source
from torch import Tensor
from typechecker import unchecked

from reprogram import parts, transformations
from reprogram.sources import CallableSource, TorchSource
from reprogram.transformations import (
    Compose,
    Frame,
    ModulateSeries,
    Overlay,
    PadSeries,
    Resize,
    SeriesToFeatures,
    Transformation,
)
from reprogram.transformations.image import as_channels, squash
from reprogram.types import InputSpec, OutputSpec, TaskSpec, UserError


class Case(NamedTuple):
    make: Callable[[], Transformation]
    source: Callable[[], TorchSource]
    task: Callable


def _waveform() -> TorchSource:
    return speech_source().door("waveform")


def _features() -> TorchSource:
    return speech_source().door("features")


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
    "nested": Case(
        lambda: Compose([Compose([Resize(5), Resize(SIDE)]), Overlay(squash="clamp")]),
        image_source,
        image_task,
    ),
}  # fmt: skip


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
    assert set(transformations.__all__) - {"Transformation"} <= tested


def test_output_is_what_the_source_takes(case: Case) -> None:
    part, source, _, x = bound(case)
    y = part(part.prepare(x))
    assert y.shape == (len(x), *source.input.shape)
    assert y.dtype == torch.float32
    assert source(y).isfinite().all()


@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_output_is_inside_the_bounds(case: Case, scale: float) -> None:
    part, source, _, x = bound(case)
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
    source(part(part.prepare(x))).square().sum().backward()
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


def test_evaluation_repeats_and_only_dropout_varies(case: Case) -> None:
    part, _, _, x = bound(case)
    assert torch.equal(part(part.prepare(x)), part(part.prepare(x)))
    prepared = part.prepare(x)
    part.train()
    drops = any(getattr(m, "dropout", 0) for m in part.modules())
    assert torch.equal(part(prepared), part(prepared)) == (not drops)


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


# --- series in a window --------------------------------------------------------------------------


def _waveform_source(window: int, rate: float | None = None) -> CallableSource:
    spec = InputSpec("waveform", (window,), -1, 1, rate=rate)
    return CallableSource(len, spec, OutputSpec("classes", (4,)))


def _series(length: int, channels: int = 1, mean: float = 0.0, std: float = 1.0) -> TaskSpec:
    return TaskSpec("toy", InputSpec("series", (channels, length), mean=mean, std=std), ("a", "b"))


@pytest.mark.parametrize(("window", "length"), [(64, 12), (50, 7), (16, 16), (100, 3), (23, 11)])
def test_pad_lays_segments_out_as_the_published_code(window: int, length: int) -> None:
    x = torch.randn(2, 1, length, generator=torch.Generator().manual_seed(0))
    for segments in range(1, window // length + 1):
        part = PadSeries(segments=segments)
        part.bind(_waveform_source(window), _series(length))
        all_seg = window // length
        seg_len = all_seg // segments
        padded, mask = torch.zeros(2, window), torch.ones(window)
        for row in range(2):
            for s in range(segments):
                for i in range(length):
                    padded[row, s * seg_len * length + i] = x[row, 0, i]
                    mask[s * seg_len * length + i] = 0.0
        assert torch.equal(part.prepare(x), padded)
        assert torch.equal(part(part.prepare(x)), padded + mask * part.pattern)


def test_pad_drops_the_program_and_not_the_series() -> None:
    part = PadSeries(dropout=0.5)
    part.bind(_waveform_source(10_000), _series(10))
    with torch.no_grad():
        part.pattern.fill_(0.1)
    x = torch.ones(1, 1, 10)
    y = part.train()(part.prepare(x))[0]
    assert torch.equal(y[:10], torch.ones(10))
    kept = y[10:] != 0
    assert 0.45 < kept.float().mean() < 0.55
    torch.testing.assert_close(y[10:][kept], torch.full((int(kept.sum()),), 0.2))  # inverted


@pytest.mark.parametrize(("segments", "length"), [(1, 65), (6, 12), (2, 40)])
def test_pad_refuses_what_does_not_fit(segments: int, length: int) -> None:
    with pytest.raises(UserError, match=rf"{length} samples.*64"):
        PadSeries(segments=segments).bind(_waveform_source(64), _series(length))


@pytest.mark.parametrize("z", [-1.0, 0.0, 1.3])
@pytest.mark.parametrize("octaves", [1.0, 0.5])
def test_a_constant_series_sounds_at_its_frequency(z: float, octaves: float) -> None:
    part = ModulateSeries(base=400.0, octaves=octaves)
    part.bind(_waveform_source(16_000, 16_000), _series(30, mean=5.0, std=2.0))
    tone = part.prepare(torch.full((1, 1, 30), 5.0 + 2.0 * z))[0]
    peak = int(torch.fft.rfft(tone).abs().argmax())  # bins of one hertz
    assert abs(peak - 400 * 2 ** (octaves * z)) <= 1
    loudness = 0.5 * (1 + 0.5 * math.tanh(z)) / 1.5
    assert abs(float(tone.abs().max()) - loudness) < 1e-3


def test_the_pitch_follows_the_series_without_a_jump() -> None:
    rate = 16_000
    part = ModulateSeries(base=400.0, depth=0.0, level=1.0)
    part.bind(_waveform_source(rate, rate), _series(9))
    x = torch.tensor([0.0, 0.5, 1.0, 0.2, -1.0, -0.3, 0.8, 0.8, 0.1])
    tone = part.prepare(x[None, None])[0].double()
    spectrum = torch.fft.fft(tone)
    spectrum[rate // 2 + 1 :] = 0
    phase = torch.fft.ifft(spectrum).angle()  # of the analytic signal
    step = torch.remainder(phase.diff() + math.pi, 2 * math.pi) - math.pi
    measured = step * rate / (2 * math.pi)
    at = torch.linspace(0, 8, rate).double()
    low = at.long().clamp(max=7)
    wanted = 400 * torch.exp2(torch.lerp(x.double()[low], x.double()[low + 1], at - low))[1:]
    middle = slice(200, -200)  # the transform's ends ring
    assert ((measured - wanted)[middle].abs() / wanted[middle]).max() < 0.02
    # A continuous phase moves the tone by no more than 2 pi f / rate from a sample to the next.
    assert (tone.diff().abs() <= 2 * math.pi * wanted / rate + 1e-6).all()


def test_the_tone_stays_below_the_nyquist_frequency() -> None:
    part = ModulateSeries(base=400.0)
    part.bind(_waveform_source(8_000, 8_000), _series(5))
    tone = part.prepare(torch.full((1, 1, 5), 30.0))[0]
    assert int(torch.fft.rfft(tone).abs().argmax()) == 3600  # 0.45 of the rate


@pytest.mark.parametrize(("hidden", "count"), [(0, 800), (64, 46_800)])
def test_parameters_of_series_to_features(hidden: int, count: int) -> None:
    source = CallableSource(len, InputSpec("features", (125, 80)), OutputSpec("classes", (2,)))
    part = SeriesToFeatures(hidden=hidden)
    part.bind(source, _series(24))
    assert sum(p.numel() for p in part.parameters()) == count


def test_features_are_a_convolution_of_the_standardised_series() -> None:
    part = SeriesToFeatures(width=3)
    part.bind(_features(), _series(FRAMES, channels=2, mean=1.0, std=4.0))
    x = torch.randn(1, 2, FRAMES)
    weight, bias = (p.detach() for p in part.parameters())  # (bands, 2, 3), (bands,)
    z = torch.nn.functional.pad((x[0] - 1) / 4, (1, 1))
    slow = torch.zeros(FRAMES, BANDS)
    for t in range(FRAMES):
        for band in range(BANDS):
            slow[t, band] = bias[band] + (weight[band] * z[:, t : t + 3]).sum()
    torch.testing.assert_close(part(part.prepare(x))[0], slow, atol=1e-5, rtol=1e-5)


# --- images --------------------------------------------------------------------------------------


def _image_door(side: int, lower: float = 0.0, upper: float = 1.0) -> CallableSource:
    spec = InputSpec("image", (3, side, side), lower, upper)
    return CallableSource(len, spec, OutputSpec("classes", (4,)))


def _images(height: int, width: int, channels: int = 1) -> TaskSpec:
    return TaskSpec("toy", InputSpec("image", (channels, height, width), 0, 1), ("a", "b"))


@pytest.mark.parametrize(("height", "width"), [(4, 4), (5, 4), (9, 2), (3, 10)])
@pytest.mark.parametrize("kind", ["tanh", "sigmoid", "clamp"])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 4.0)])
def test_frame_surrounds_the_image(height: int, width: int, kind, bounds) -> None:
    frame = Frame(squash=kind)
    frame.bind(_image_door(10, *bounds), _images(height, width))
    x = torch.rand(2, 1, height, width)
    shown = bounds[0] + (bounds[1] - bounds[0]) * x  # in the source's natural units
    assert isinstance(frame.pattern, Tensor)
    rows, columns = (range((10 - n) // 2, (10 - n) // 2 + n) for n in (height, width))
    middle = (bounds[0] + bounds[1]) / 2
    for pattern in (torch.zeros(len(frame.pattern)), torch.linspace(-4, 4, len(frame.pattern))):
        frame.pattern.data = pattern
        values = middle + (bounds[1] - bounds[0]) / 2 * squash(kind, pattern)
        assert pattern.any() or (values == middle).all()
        left = iter(values.tolist())  # in reading order
        slow = [
            [
                [
                    shown[0, 0, i - rows[0], j - columns[0]].item()
                    if i in rows and j in columns
                    else next(left)
                    for j in range(10)
                ]
                for i in range(10)
            ]
            for _ in range(3)
        ]
        assert not list(left)
        y = frame(frame.prepare(x)).detach()
        torch.testing.assert_close(y[0], torch.tensor(slow))
        inside = y[:, :, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        torch.testing.assert_close(inside, shown.expand(-1, 3, -1, -1))


@pytest.mark.parametrize(("height", "width"), [(10, 10), (11, 4), (4, 11)])
def test_frame_refuses_an_image_that_leaves_it_no_room(height: int, width: int) -> None:
    with pytest.raises(UserError, match=rf"{height}x{width} pixels .* 10x10; put Resize"):
        Frame().bind(_image_door(10), _images(height, width))


@pytest.mark.parametrize("kind", ["tanh", "sigmoid", "clamp"])
@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_overlay_changes_a_pixel_by_its_strength_at_most(kind, strength: float) -> None:
    overlay = Overlay(strength=strength, squash=kind)
    overlay.bind(_image_door(6, -1, 3), _images(6, 6))
    x = torch.rand(2, 1, 6, 6)
    shown = 4 * x - 1  # in the source's natural units
    torch.testing.assert_close(overlay(overlay.prepare(x)), shown.expand(-1, 3, -1, -1))
    torch.nn.init.normal_(overlay.pattern, std=50.0)
    change = (overlay(overlay.prepare(x)) - shown).abs().max()
    assert 0.9 * strength <= change <= 2 * strength + 1e-6  # half the range is 2
    assert overlay.picture().abs().max() <= 2 * strength + 1e-6


@pytest.mark.parametrize(("kind", "slope"), [("tanh", 1.0), ("sigmoid", 0.5), ("clamp", 1.0)])
def test_squash_is_odd_monotone_and_bounded(kind, slope: float) -> None:
    w = torch.linspace(-60, 60, 1001, dtype=torch.float64)
    y = squash(kind, w)
    assert y.min() == -1
    assert y.max() == 1
    assert (y.diff() >= 0).all()
    torch.testing.assert_close(y, -y.flip(0))
    zero = torch.zeros(1, requires_grad=True)
    squash(kind, zero).sum().backward()
    assert zero.grad is not None
    assert float(zero.grad) == pytest.approx(slope)


def test_resize_keeps_size_range_and_constants() -> None:
    x = torch.rand(2, 3, 9, 9)
    torch.testing.assert_close(Resize(9)(x), x)
    for size in (4, 30):
        y = Resize(size)(x)
        assert y.shape == (2, 3, size, size)
        assert y.min() >= x.min() - 1e-6
        assert y.max() <= x.max() + 1e-6
        torch.testing.assert_close(Resize(size)(torch.full((1, 1, 9, 5), 0.3)).mean().item(), 0.3)


def test_resize_shrinks_without_aliases() -> None:
    stripes = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)
    inside = Resize(16)(stripes)[..., 1:-1, 1:-1]
    assert (inside - 0.5).abs().max() < 0.05


def test_channels() -> None:
    grey, colour = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4)
    assert torch.equal(as_channels(grey, 3), grey.repeat(1, 3, 1, 1))
    assert torch.equal(as_channels(colour, 1), colour.mean(1, keepdim=True))
    assert torch.equal(as_channels(colour, 3), colour)
    with pytest.raises(UserError, match="images of 2 channels for a source of 3"):
        as_channels(torch.rand(2, 2, 4, 4), 3)


# --- several parts, and what is refused ----------------------------------------------------------


def test_compose_prepares_what_comes_before_the_first_parameter() -> None:
    part = Compose([Resize(5), Compose([Resize(15)]), Frame()])
    part.bind(image_source(), image_task().spec)
    x = image_task().train.inputs[:2]
    prepared = part.prepare(x)
    assert prepared.shape == (2, 3, SIDE, SIDE)
    frame = part.parts[2]
    expected = frame(frame.prepare(Resize(15)(Resize(5)(x))))
    assert torch.equal(part(prepared), expected)


def test_compose_takes_parts_that_write_the_input_only_last() -> None:
    with pytest.raises(UserError, match="Frame writes the source's input: it must come last"):
        Compose([Frame(), Resize(5)]).bind(image_source(), image_task().spec)
    with pytest.raises(UserError, match="'parts' of Compose is empty"):
        Compose([])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PadSeries(segments=0), "'segments' is 0"),
        (lambda: PadSeries(dropout=1.0), "'dropout' is 1.0"),
        (lambda: ModulateSeries(base=0.0), "'base' is 0.0 Hz"),
        (lambda: ModulateSeries(depth=1.5), "'depth' is 1.5"),
        (lambda: ModulateSeries(dropout=-0.1), "'dropout' is -0.1"),
        (lambda: SeriesToFeatures(width=4), "'width' is 4"),
        (lambda: SeriesToFeatures(dropout=2.0), "'dropout' is 2.0"),
        (lambda: Frame(squash="relu"), "'squash' is 'relu'"),
        (lambda: Overlay(squash="relu"), "'squash' is 'relu'"),
        (lambda: Overlay(strength=0.0), "'strength' is 0.0"),
        (lambda: Resize(0), "'size' is 0"),
    ],
)
def test_a_bad_argument_is_named(make: Callable[[], Transformation], said: str) -> None:
    with unchecked(), pytest.raises(UserError, match=said):
        make()


@pytest.mark.parametrize(
    ("part", "source", "spec", "said"),
    [
        (PadSeries(), _waveform_source(64), _images(8, 8), "task of kind 'series'.*'image'"),
        (PadSeries(), _image_door(8), _series(5), "writes 'waveform'.*takes 'image'"),
        (PadSeries(), _waveform_source(64), _series(5, channels=2), "one channel; toy has 2"),
        (ModulateSeries(), _waveform_source(64), _series(5), "does not say its rate"),
        (ModulateSeries(), _waveform_source(64, 8.0), _series(5, channels=3), "toy has 3"),
        (SeriesToFeatures(), _waveform_source(64), _series(5), "writes 'features'"),
        (Frame(), _waveform_source(64), _images(8, 8), "writes 'image'"),
        (Frame(), _image_door(9, upper=math.inf), _images(8, 8), "needs finite bounds"),
        (Overlay(), _image_door(9), _images(8, 8), "8x8 pixels .* 9x9; put Resize"),
        (Overlay(), _image_door(8, lower=-math.inf), _images(8, 8), "needs finite bounds"),
        (Frame(), _image_door(9), _series(8), "task of kind 'image'"),
    ],
)  # fmt: skip
def test_a_task_or_door_that_does_not_fit_is_named(
    part: Transformation, source: CallableSource, spec: TaskSpec, said: str
) -> None:
    with pytest.raises(UserError, match=said) as caught:
        part.bind(source, spec)
    assert "\n" not in str(caught.value)


def test_window_of_the_tiny_source() -> None:
    assert FRAMES * BANDS == WINDOW


@pytest.mark.parametrize("make", [Frame, Overlay])
def test_images_enter_in_the_natural_units_of_the_source(make) -> None:
    """A task in [0, 1] on a source in [-1, 1]: black is -1, white 1."""
    part, side = make(), 4 if make is Overlay else 2
    part.bind(_image_door(4, -1.0, 1.0), _images(side, side))
    for value, seen in ((0.0, -1.0), (0.5, 0.0), (1.0, 1.0)):
        image = part(part.prepare(torch.full((1, 1, side, side), value)))
        assert (image[0, :, 1:3, 1:3] == seen).all()
