"""The front end: its matrix, its numbers, its gradients."""

import numpy as np
import pytest
import torch

from reprogram.sources.spectrogram import LogMel, Spectrogram, Standardise, mel_matrix
from reprogram.types import UserError


def slow_log_mel(waveform, *, window=1024, hop=128, floor=1e-6):
    """One waveform, frame by frame and in double precision, as TensorFlow's recipe reads."""
    frames = -(-len(waveform) // hop)
    padded = np.concatenate([waveform, np.zeros(window)])
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    matrix = mel_matrix(bins=window // 2 + 1).double().numpy()
    rows = []
    for k in range(frames):
        spectrum = np.abs(np.fft.rfft(padded[k * hop : k * hop + window] * taper))
        rows.append(np.log(spectrum @ matrix + floor))
    return np.stack(rows)


@pytest.fixture
def waveforms():
    return torch.rand(3, 16000, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_mel_matrix_is_the_stored_one(data_root):
    stored = np.load(data_root / "speech" / "attRNN_mel_513x80.npy", allow_pickle=False)
    np.testing.assert_allclose(mel_matrix().numpy(), stored, atol=2e-5)


def test_mel_filters_are_triangles_that_hand_over():
    matrix = mel_matrix(bins=4097, low=100.0, high=7000.0)
    assert matrix.min() >= 0
    assert matrix.max() <= 1
    peaks = matrix.argmax(0)
    assert (peaks.diff() > 0).all()
    # Between the first centre and the last, the two filters over a bin sum to one.
    between = matrix[peaks[0] + 1 : peaks[-1]].sum(1)
    torch.testing.assert_close(between, torch.ones_like(between))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 8000.0), (500.0, 500.0), (40.0, 8001.0)])
def test_edges_that_make_no_bands(low, high):
    with pytest.raises(UserError, match="'low' and 'high'"):
        mel_matrix(low=low, high=high)


def test_spectrum_of_a_tone_peaks_at_its_bin():
    time = torch.arange(16000) / 16000
    magnitudes = Spectrogram()(torch.cos(2 * torch.pi * 1000 * time)[None])
    assert (magnitudes[0, :100].argmax(1) == 1000 * 1024 // 16000).all()
    # A Hann window of 1024 sums to 512, and half of a real tone lies at the negative frequency.
    assert magnitudes[0, 0].max().item() == pytest.approx(256, rel=1e-3)


def test_log_mel_against_a_slow_transcription(waveforms):
    fast = LogMel()(waveforms).numpy()
    slow = np.stack([slow_log_mel(w) for w in waveforms.double().numpy()])
    np.testing.assert_allclose(fast, slow, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "frames"), [(16000, 125), (15999, 125), (16001, 126), (128, 1), (129, 2), (1, 1)]
)
def test_every_sample_starts_or_lies_in_a_frame(samples, frames):
    assert LogMel()(torch.zeros(2, samples)).shape == (2, frames, 80)


def test_gradient_is_the_analytic_one():
    front = LogMel(rate=1000, window=16, hop=4, bands=3, low=20.0, high=500.0).double()
    waveform = torch.randn(2, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.autograd.gradcheck(front, waveform.requires_grad_())
    assert torch.autograd.gradcheck(Standardise().double(), waveform)


def test_silence_becomes_zeros_with_a_finite_gradient():
    silence = torch.zeros(1, 16000, requires_grad=True)
    out = Standardise()(LogMel()(silence))
    out.square().sum().backward()
    assert out.abs().max() == 0
    assert silence.grad is not None
    assert torch.isfinite(silence.grad).all()


def test_standardise_forgets_offset_and_scale():
    x = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(2))
    y = Standardise()(x)
    torch.testing.assert_close(Standardise()(3 * x + 4), y)
    torch.testing.assert_close(y.var((1, 2), correction=0), torch.ones(2))
    # Each sample by itself: the batch does not matter.
    torch.testing.assert_close(Standardise()(x[:1]), y[:1])


def test_only_settings_enter_the_state(waveforms):
    """What is computed from them may differ in its last bit elsewhere; a fingerprint must not."""
    assert set(LogMel().state_dict()) == {"settings", "spectrogram.settings"}
    before = waveforms.clone()
    LogMel()(waveforms)
    assert torch.equal(before, waveforms)
