"""The attention RNN of Voice2Series: a small speech-command network that ships with the library."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from reprogram.sources.base import Stage, TorchSource
from reprogram.sources.frozen_conv import frozen_convolutions, is_frozen
from reprogram.sources.frozen_lstm import lstm_outputs
from reprogram.sources.spectrogram import LogMel, Standardise
from reprogram.types import InputSpec, OutputSpec

RATE, HOP, BANDS = 16000, 128, 80
FRAMES = RATE // HOP  # 125


class AttentionRNN(nn.Module):
    """Standardised log-mel spectra to logits of spoken commands.

    Two convolutions along time, two bidirectional LSTMs, attention asked by the last step, three
    dense layers: 201,247 weights with 36 outputs.

    Arguments:
        classes: Number of outputs.

    References:
        | A neural attention model for speech command recognition (de Andrade, Leo, Viana, Bernkopf,
          2018), arXiv 1808.08929
        | Voice2Series: reprogramming acoustic models for time series classification (Yang, Tsai,
          Chen, 2021), arXiv 2106.09296

    Example:
        >>> AttentionRNN(classes=36)(torch.zeros(2, 125, 80)).shape
        torch.Size([2, 36])
    """

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 10, (5, 1), padding="same")
        self.norm1 = nn.BatchNorm2d(10, eps=1e-3)  # Keras' epsilon
        self.conv2 = nn.Conv2d(10, 1, (5, 1), padding="same")
        self.norm2 = nn.BatchNorm2d(1, eps=1e-3)
        self.lstm1 = nn.LSTM(BANDS, 64, batch_first=True, bidirectional=True)
        self.lstm2 = nn.LSTM(128, 64, batch_first=True, bidirectional=True)
        self.query = nn.Linear(128, 128)
        self.hidden = nn.Linear(128, 64)
        self.bottleneck = nn.Linear(64, 32)
        self.out = nn.Linear(32, classes)
        self._initialise()

    def _initialise(self) -> None:
        """Keras' initial values; of the two biases of a torch LSTM only one is used, as there."""
        for name, parameter in self.named_parameters():
            if "norm" in name:
                continue
            if "weight_hh" in name:
                for gate in parameter.data.chunk(4):
                    nn.init.orthogonal_(gate)
            elif "weight" in name:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
            if "bias_ih" in name:
                parameter.data[64:128] = 1  # the forget gate starts open
            if "bias_hh" in name:
                parameter.requires_grad_(False)

    def features(self, x: Float[Tensor, "batch frames bands"]) -> Float[Tensor, "batch 32"]:
        """What enters the last layer."""
        x = self._convolved(x)  # (batch, frames, bands)
        x = lstm_outputs(self.lstm1, x)
        x = lstm_outputs(self.lstm2, x)  # (batch, frames, 128)
        query = self.query(x[:, -1])  # (batch, 128)
        attention = torch.einsum("bd,btd->bt", query, x).softmax(1)
        x = torch.einsum("bt,btd->bd", attention, x)
        return self.bottleneck(self.hidden(x).relu())

    def _convolved(self, x: Tensor) -> Tensor:
        parts = self.conv1, self.norm1, self.conv2, self.norm2
        if is_frozen(x, *parts):
            return frozen_convolutions(x, *parts)
        x = self.norm1(self.conv1(x[:, None]).relu())  # (batch, 10, frames, bands)
        return self.norm2(self.conv2(x).relu())[:, 0]

    def forward(self, x: Float[Tensor, "batch frames bands"]) -> Float[Tensor, "batch classes"]:
        """(batch, 125, 80) -> logits (batch, classes)."""
        return self.out(self.features(x))


def front_end() -> nn.Sequential:
    """One second at 16 kHz (batch, 16000) -> standardised log-mel (batch, 125, 80)."""
    return nn.Sequential(LogMel(rate=RATE, hop=HOP, bands=BANDS), Standardise())


def attention_rnn_source(
    network: AttentionRNN, names: Sequence[str], *, uri: str | None = None
) -> TorchSource:
    """The network behind its front end, frozen, with the doors ``waveform`` and ``log-mel``.

    Arguments:
        network: The trained network.
        names: Names of its classes, in order.
        uri: Under which name a saved program finds it again.
    """
    waveform = InputSpec("waveform", (RATE,), lower=-1.0, upper=1.0, rate=RATE)
    features = InputSpec("features", (FRAMES, BANDS), rate=RATE / HOP, normalised=True)
    stages = [Stage("waveform", waveform, front_end()), Stage("log-mel", features, network)]
    return TorchSource(stages, OutputSpec("classes", (len(names),), tuple(names)), uri=uri)
