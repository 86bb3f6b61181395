"""Series in a window: as samples, as a tone, as features."""

import math

import pytest
import torch
from doors import series, waveform_door
from tiny import BANDS, FRAMES, speech_source

from reprogram.sources import CallableSource
from reprogram.transformations import ModulateSeries, PadSeries, SeriesToFeatures
from reprogram.types import InputSpec, OutputSpec, UserError


@pytest.mark.parametrize(("window", "length"), [(64, 12), (50, 7), (16, 16), (100, 3), (23, 11)])
def test_pad_lays_segments_out_as_the_published_code(window: int, length: int) -> None:
    x = torch.randn(2, 1, length, generator=torch.Generator().manual_seed(0))
    for segments in range(1, window // length + 1):
        part = PadSeries(segments=segments)
        part.bind(waveform_door(window), series(length))
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


def test_pad_drops_the_program_and_not_theseries() -> None:
    part = PadSeries(dropout=0.5)
    part.bind(waveform_door(10_000), series(10))
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
        PadSeries(segments=segments).bind(waveform_door(64), series(length))


@pytest.mark.parametrize("z", [-1.0, 0.0, 1.3])
@pytest.mark.parametrize("octaves", [1.0, 0.5])
def test_a_constant_series_sounds_at_its_frequency(z: float, octaves: float) -> None:
    part = ModulateSeries(base=400.0, octaves=octaves)
    part.bind(waveform_door(16_000, 16_000), series(30, mean=5.0, std=2.0))
    tone = part.prepare(torch.full((1, 1, 30), 5.0 + 2.0 * z))[0]
    peak = int(torch.fft.rfft(tone).abs().argmax())  # bins of one hertz
    assert abs(peak - 400 * 2 ** (octaves * z)) <= 1
    loudness = 0.5 * (1 + 0.5 * math.tanh(z)) / 1.5
    assert abs(float(tone.abs().max()) - loudness) < 1e-3


def test_the_pitch_follows_the_series_without_a_jump() -> None:
    rate = 16_000
    part = ModulateSeries(base=400.0, depth=0.0, level=1.0)
    part.bind(waveform_door(rate, rate), series(9))
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
    part.bind(waveform_door(8_000, 8_000), series(5))
    tone = part.prepare(torch.full((1, 1, 5), 30.0))[0]
    assert int(torch.fft.rfft(tone).abs().argmax()) == 3600  # 0.45 of the rate


@pytest.mark.parametrize(("hidden", "count"), [(0, 800), (64, 46_800)])
def test_parameters_of_series_to_features(hidden: int, count: int) -> None:
    source = CallableSource(len, InputSpec("features", (125, 80)), OutputSpec("classes", (2,)))
    part = SeriesToFeatures(hidden=hidden)
    part.bind(source, series(24))
    assert sum(p.numel() for p in part.parameters()) == count


def test_features_are_a_convolution_of_the_standardisedseries() -> None:
    part = SeriesToFeatures(width=3)
    part.bind(speech_source().door("features"), series(FRAMES, channels=2, mean=1.0, std=4.0))
    x = torch.randn(1, 2, FRAMES)
    weight, bias = (p.detach() for p in part.parameters())  # (bands, 2, 3), (bands,)
    z = torch.nn.functional.pad((x[0] - 1) / 4, (1, 1))
    slow = torch.zeros(FRAMES, BANDS)
    for t in range(FRAMES):
        for band in range(BANDS):
            slow[t, band] = bias[band] + (weight[band] * z[:, t : t + 3]).sum()
    torch.testing.assert_close(part(part.prepare(x))[0], slow, atol=1e-5, rtol=1e-5)
