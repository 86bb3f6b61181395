"""Audio classifiers of the transformers library, and differentiable forms of their front ends."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.sources.base import Stage
from reprogram.sources.hf.classifier import Classifier
from reprogram.sources.spectrogram import Standardise, mel_matrix
from reprogram.types import InputSpec, UserError

OPTIONS: dict[str, type] = {"seconds": float}
RATE = 16000  # samples per second, where no file says otherwise


class KaldiLogMel(nn.Module):
    """Waveforms to the standardised log-mel energies of the Audio Spectrogram Transformer.

    Frames of 25 ms every 10 ms; of each, the mean is taken off, then 0.97 of the sample before
    (pre-emphasis), a Hann window is laid over it, and the power of its spectrum summed into mel
    bands from 20 Hz. Missing frames at the end are zeros *in log-mel*, as in the original.

    Arguments:
        rate: Samples per second.
        bands: Mel bands.
        frames: Frames returned, whatever the length of the waveform.
        mean: Of the log-mel energies the model was trained on.
        std: Their standard deviation. The energies are divided by twice that.

    References:
        | AST: Audio Spectrogram Transformer (Gong, Chung, Glass, 2021), arXiv 2104.01778

    Example:
        >>> KaldiLogMel(frames=100, bands=64)(torch.zeros(2, 8000)).shape
        torch.Size([2, 100, 64])
    """

    taper: Tensor
    matrix: Tensor

    def __init__(
        self, *, rate: int = RATE, bands: int = 128, frames: int = 1024,
        mean: float = -4.2677393, std: float = 4.5689974,
    ) -> None:  # fmt: skip
        super().__init__()
        self.window, self.hop, self.frames = rate // 40, rate // 100, frames
        self.mean, self.std = mean, std
        self.transform = 1 << (self.window - 1).bit_length()
        matrix = mel_matrix(
            bins=self.transform // 2 + 1, rate=rate, bands=bands, low=20.0, high=float(rate // 2)
        )
        # Not persistent, since they follow from the settings; the settings enter the fingerprint.
        self.register_buffer("matrix", matrix, persistent=False)
        taper = torch.hann_window(self.window, periodic=False)
        self.register_buffer("taper", taper, persistent=False)
        settings = torch.tensor([rate, bands, frames, mean, std], dtype=torch.float64)
        self.register_buffer("settings", settings)

    def forward(
        self, waveform: Float[Tensor, "batch samples"]
    ) -> Float[Tensor, "batch frames bands"]:
        """(batch, samples) -> (batch, frames, bands)."""
        framed = waveform.unfold(1, self.window, self.hop)[:, : self.frames]
        framed = framed - framed.mean(2, keepdim=True)  # (batch, frames, window)
        before = torch.cat([framed[..., :1], framed[..., :-1]], 2)
        spectrum = torch.fft.rfft((framed - 0.97 * before) * self.taper, n=self.transform)
        power = spectrum.real.square() + spectrum.imag.square()  # (batch, frames, bins)
        energies = (power @ self.matrix).clamp_min(torch.finfo(torch.float32).eps).log()
        energies = nn.functional.pad(energies, (0, 0, 0, self.frames - energies.shape[1]))
        return (energies - self.mean) / (2 * self.std)


class WhisperLogMel(nn.Module):
    """Waveforms to the log-mel energies of Whisper.

    The waveform is padded with silence to the whole length; frames are centred, and each clip's
    energies end eight powers of ten below its loudest.

    Arguments:
        rate: Samples per second.
        samples: Length after padding.
        bands: Mel bands.
        window: Length of window and transform, in samples.
        hop: Samples from one frame to the next.

    References:
        | Robust speech recognition via large-scale weak supervision (Radford, Kim, Xu, Brockman,
          McLeavey, Sutskever, 2022), arXiv 2212.04356
    """

    taper: Tensor
    matrix: Tensor

    def __init__(
        self, *, rate: int = RATE, samples: int = 30 * RATE, bands: int = 80,
        window: int = 400, hop: int = 160,
    ) -> None:  # fmt: skip
        super().__init__()
        from transformers.audio_utils import mel_filter_bank

        self.samples, self.window, self.hop = samples, window, hop
        matrix = mel_filter_bank(
            num_frequency_bins=1 + window // 2, num_mel_filters=bands, min_frequency=0.0,
            max_frequency=8000.0, sampling_rate=rate, norm="slaney", mel_scale="slaney",
        )  # fmt: skip
        self.register_buffer("matrix", torch.from_numpy(matrix).float(), persistent=False)
        self.register_buffer("taper", torch.hann_window(window), persistent=False)
        self.register_buffer("settings", torch.tensor([rate, samples, bands, window, hop]))

    def forward(
        self, waveform: Float[Tensor, "batch samples"]
    ) -> Float[Tensor, "batch frames bands"]:
        """(batch, samples) -> (batch, samples after padding / hop, bands)."""
        waveform = nn.functional.pad(waveform, (0, self.samples - waveform.shape[1]))
        spectrum = torch.stft(
            waveform, self.window, self.hop, window=self.taper, return_complex=True
        )[..., :-1].transpose(1, 2)  # (batch, frames, bins)
        power = spectrum.real.square() + spectrum.imag.square()
        energies = (power @ self.matrix).clamp_min(1e-10).log10()
        energies = torch.maximum(energies, energies.amax((1, 2), keepdim=True) - 8)
        return (energies + 4) / 4


def stages(model: Any, settings: dict[str, Any], *, seconds: float | None = None) -> list[Stage]:
    """``waveform -> standardised -> classes`` or ``waveform -> log-mel -> classes``.

    Arguments:
        model: An audio classifier.
        settings: Of its feature extractor's file.
        seconds: Length of the waveform: 1 unless given, or for a model of spectrograms as much as
            it takes.

    Raises:
        UserError: if the front end is not a known one, or ``seconds`` is more than the model takes.
    """
    config, rate = model.config, int(settings.get("sampling_rate", RATE))
    if hasattr(config, "conv_dim"):  # convolutions over the raw waveform: wav2vec 2.0 and its kin
        wave = _waveform(rate, round((seconds or 1.0) * rate))
        if not settings.get("do_normalize", True):
            return [Stage("waveform", wave, Classifier(model, "input_values"))]
        standardised = InputSpec("waveform", wave.shape, rate=wave.rate, normalised=True)
        return [
            Stage("waveform", wave, Standardise(epsilon=1e-7)),
            Stage("standardised", standardised, Classifier(model, "input_values")),
        ]
    if config.model_type == "audio-spectrogram-transformer":
        return _spectrogram_transformer(model, settings, rate, seconds)
    if config.model_type == "whisper":
        return _whisper(model, settings, rate, seconds)
    raise UserError(f"a {type(model).__name__} has a front end of its own; supported are models of "
                    "raw waveforms (wav2vec2, hubert, wavlm, sew, unispeech, data2vec), "
                    "AST and Whisper")  # fmt: skip


def _spectrogram_transformer(
    model: Any, settings: dict[str, Any], rate: int, seconds: float | None
) -> list[Stage]:
    frames, bands = model.config.max_length, model.config.num_mel_bins
    mean, std = settings.get("mean", -4.2677393), settings.get("std", 4.5689974)
    if not settings.get("do_normalize", True):
        mean, std = 0.0, 0.5
    front = KaldiLogMel(rate=rate, bands=bands, frames=frames, mean=mean, std=std)
    samples = _samples(seconds, rate, front.window + (frames - 1) * front.hop)
    features = InputSpec("features", (frames, bands), rate=rate / front.hop, normalised=True)
    return [
        Stage("waveform", _waveform(rate, samples), front),
        Stage("log-mel", features, Classifier(model, "input_values")),
    ]


def _whisper(model: Any, settings: dict[str, Any], rate: int, seconds: float | None) -> list[Stage]:
    bands, hop = model.config.num_mel_bins, settings.get("hop_length", 160)
    frames = 2 * model.config.max_source_positions  # the second convolution takes every other
    front = WhisperLogMel(
        rate=rate, samples=frames * hop, bands=bands, window=settings.get("n_fft", 400), hop=hop
    )
    samples = _samples(seconds, rate, front.samples)
    features = InputSpec("features", (frames, bands), rate=rate / hop, normalised=True)
    return [
        Stage("waveform", _waveform(rate, samples), front),
        Stage("log-mel", features, Classifier(model, "input_features", channels_first=True)),
    ]


def _samples(seconds: float | None, rate: int, most: int) -> int:
    """As many samples as asked for, at most what the model takes."""
    samples = most if seconds is None else round(seconds * rate)
    if not rate // 40 <= samples <= most:
        raise UserError(f"option 'seconds' is {seconds}, and this model takes 0.025 to "
                        f"{most / rate:g} seconds of sound; pass a length between")  # fmt: skip
    return samples


def _waveform(rate: int, samples: int) -> InputSpec:
    return InputSpec("waveform", (samples,), lower=-1.0, upper=1.0, rate=float(rate))
