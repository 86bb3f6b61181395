"""The front end of speech models: short-time spectra, log-mel bands, per-clip standardisation.

Every part is differentiable, so a program may be trained on the waveform in front of it.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.types import UserError


def mel_matrix(
    *, bins: int = 513, rate: int = 16000, bands: int = 80, low: float = 40.0, high: float = 8000.0
) -> Float[Tensor, "bins bands"]:
    """Triangular filters that sum the bins of a spectrum into bands of equal width in mel.

    The HTK scale, mel = 1127 ln(1 + f / 700), triangles of height one drawn in mel, and nothing
    from the bin at zero frequency: what TensorFlow's ``linear_to_mel_weight_matrix`` makes.

    Arguments:
        bins: Bins of the spectrum, from 0 to ``rate / 2``.
        rate: Samples per second.
        bands: Mel bands.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz; at most ``rate / 2``.

    Raises:
        UserError: if the edges are out of order or above half the rate.

    Example:
        >>> mel_matrix(bins=5, rate=8000, bands=2, low=0.0, high=4000.0).shape
        torch.Size([5, 2])
    """
    if not 0 <= low < high <= rate / 2:
        raise UserError(f"arguments 'low' and 'high' are {low} and {high} Hz; "
                        f"0 <= low < high <= {rate / 2} is needed at a rate of {rate}")  # fmt: skip
    frequencies = torch.linspace(0, rate / 2, bins, dtype=torch.float64)
    position = _mel(frequencies)[:, None]  # (bins, 1)
    edges = torch.linspace(_mel(low), _mel(high), bands + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]  # (bands,) each
    rising = (position - left) / (centre - left)
    falling = (right - position) / (right - centre)
    matrix = torch.minimum(rising, falling).clamp_min(0)  # (bins, bands)
    matrix[0] = 0
    return matrix.float()


class Spectrogram(nn.Module):
    """Waveforms to magnitudes of the short-time Fourier transform.

    Frame ``k`` starts at sample ``k * hop``; the end is padded with zeros so that every sample
    starts or lies in a frame: ``ceil(samples / hop)`` frames. The window is Hann's, periodic.

    Arguments:
        window: Length of window and transform, in samples.
        hop: Samples from one frame to the next.

    Example:
        >>> Spectrogram()(torch.zeros(2, 16000)).shape
        torch.Size([2, 125, 513])
    """

    taper: Tensor

    def __init__(self, *, window: int = 1024, hop: int = 128) -> None:
        super().__init__()
        self.window, self.hop = window, hop
        # Not persistent: it follows from the settings, and the last bit of a cosine may differ
        # between machines, which must not change a source's fingerprint.
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        self.register_buffer("settings", torch.tensor([window, hop]))

    def forward(
        self, waveform: Float[Tensor, "batch samples"]
    ) -> Float[Tensor, "batch frames bins"]:
        """(batch, samples) -> (batch, ceil(samples / hop), window / 2 + 1)."""
        samples = waveform.shape[-1]
        frames = math.ceil(samples / self.hop)
        padding = (frames - 1) * self.hop + self.window - samples
        padded = nn.functional.pad(waveform, (0, max(padding, 0)))
        framed = padded.unfold(-1, self.window, self.hop)[:, :frames]  # (batch, frames, window)
        return torch.fft.rfft(framed * self.taper).abs()  # (batch, frames, bins)


class LogMel(nn.Module):
    """Waveforms to natural logarithms of mel-band magnitudes.

    Arguments:
        rate: Samples per second.
        window: Length of window and transform, in samples.
        hop: Samples from one frame to the next.
        bands: Mel bands.
        low: Lower edge of the first band, in Hz.
        high: Upper edge of the last band, in Hz.
        floor: Added to a magnitude before the logarithm.

    Raises:
        UserError: if the edges are out of order or above half the rate.

    References:
        | A neural attention model for speech command recognition (de Andrade, Leo, Viana, Bernkopf,
          2018), arXiv 1808.08929: the front end of these settings.

    Example:
        >>> LogMel()(torch.zeros(1, 16000)).shape
        torch.Size([1, 125, 80])
    """

    matrix: Tensor

    def __init__(
        self, *, rate: int = 16000, window: int = 1024, hop: int = 128, bands: int = 80,
        low: float = 40.0, high: float = 8000.0, floor: float = 1e-6,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spectrogram = Spectrogram(window=window, hop=hop)
        self.floor = floor
        matrix = mel_matrix(bins=window // 2 + 1, rate=rate, bands=bands, low=low, high=high)
        self.register_buffer("matrix", matrix, persistent=False)  # as the taper
        settings = torch.tensor([rate, bands, low, high, floor], dtype=torch.float64)
        self.register_buffer("settings", settings)

    def forward(
        self, waveform: Float[Tensor, "batch samples"]
    ) -> Float[Tensor, "batch frames bands"]:
        """(batch, samples) -> (batch, ceil(samples / hop), bands)."""
        return (self.spectrogram(waveform) @ self.matrix + self.floor).log()


class Standardise(nn.Module):
    """Each sample minus its mean, over its standard deviation, across all its axes together.

    Arguments:
        epsilon: Added to the variance: a constant sample becomes zeros, with a finite gradient.

    Example:
        >>> y = Standardise()(torch.randn(2, 125, 80) * 3 + 5)
        >>> bool((y.mean((1, 2)).abs() < 1e-4).all() and (y.std((1, 2)) - 1 < 1e-2).all())
        True
    """

    epsilon: Tensor

    def __init__(self, *, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.register_buffer("epsilon", torch.tensor(epsilon))

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        """(batch, ...) -> the same."""
        flat = x.flatten(1)
        variance, mean = torch.var_mean(flat, 1, correction=0, keepdim=True)
        return ((flat - mean) * (variance + self.epsilon).rsqrt()).reshape(x.shape)


def _mel(frequency: float | Tensor) -> Tensor:
    """Hz to mel, after HTK."""
    return 1127.0 * torch.log1p(torch.as_tensor(frequency, dtype=torch.float64) / 700.0)
