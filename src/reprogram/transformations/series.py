"""A time series written into a speech model: as samples, as a tone, or as features."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from reprogram.transformations.base import (
    Transformation,
    glorot,
    require_kinds,
    seeded_uniform,
)
from reprogram.types import SourceLike, TaskSpec, UserError


class PadSeries(Transformation):
    """The series padded into the source's window, and the program around it.

    ``H(x; theta) = Pad(x) + M * theta``: ``m`` copies of the series at even distances from the
    start of the window, and a trainable value at every sample (``M`` is 0 where the series stands).

    Warning:
        As published, nothing is scaled or clipped: a z-normalised series leaves [-1, 1]. Give
        ``clip=True`` for a source that minds.

    References:
        | Voice2Series: Reprogramming Acoustic Models for Time Series Classification
          (Yang, Tsai, Chen, 2021), eq. 1. https://arxiv.org/abs/2106.09296

    Arguments:
        segments: Copies of the series, 1 to ``window // length``.
        dropout: Rate of (inverted) dropout on the program while training, in [0, 1).
        mask: Whether the program leaves the series alone (``M``); ``False`` adds it everywhere.
        clip: Whether the sum is clipped to the source's bounds.
        seed: Of the initial program, Glorot-uniform.

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("waveform", (10,), -1, 1), OutputSpec("classes", (2,)))
        >>> task = TaskSpec("toy", InputSpec("series", (1, 3)), ("a", "b"))
        >>> pad = PadSeries(segments=2)
        >>> pad.bind(source, task)
        >>> pad.prepare(torch.ones(1, 1, 3))
        tensor([[1., 1., 1., 1., 1., 1., 0., 0., 0., 0.]])
    """

    at: Tensor
    mask_: Tensor

    def __init__(
        self,
        *,
        segments: int = 1,
        dropout: float = 0.0,
        mask: bool = True,
        clip: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if segments < 1:
            raise UserError(f"argument 'segments' is {segments}; give 1 or more")
        if not 0 <= dropout < 1:
            raise UserError(f"argument 'dropout' is {dropout}; give a rate in [0, 1)")
        self.segments, self.dropout, self.mask, self.clip = segments, dropout, mask, clip
        self.seed = seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Lay the segments out and draw the initial program (window,).

        Raises:
            UserError: if the series is not univariate, or longer than the window allows.
        """
        require_kinds(self, source, "waveform", task, "series")
        length, window = _univariate(self, task), source.input.shape[0]
        if length > window:
            raise UserError(
                f"series of {length} samples is longer than the source's window of {window}; "
                "resample it or use the recipe series-to-features"
            )
        fit = window // length
        if self.segments > fit:
            raise UserError(
                f"argument 'segments' is {self.segments}; at most {fit} copies of {length} samples "
                f"fit the window of {window}"
            )
        step = fit // self.segments * length  # the reference code's spacing
        starts = torch.arange(self.segments) * step
        at = (starts[:, None] + torch.arange(length)).reshape(-1)  # (segments * length,)
        mask = torch.ones(window).index_fill(0, at, 0.0) if self.mask else torch.ones(window)
        self.register_buffer("at", at, persistent=False)
        self.register_buffer("mask_", mask, persistent=False)
        self.pattern = nn.Parameter(seeded_uniform((window,), glorot(window, 1), self.seed))
        self.bounds = source.input.lower, source.input.upper

    def prepare(self, x: Float[Tensor, "batch 1 length"]) -> Float[Tensor, "batch window"]:
        """Pad(x): zeros with ``segments`` copies of the series."""
        window = x.new_zeros(len(x), len(self.mask_))
        window[:, self.at] = x[:, 0].repeat(1, self.segments)
        return window

    def forward(self, prepared: Float[Tensor, "batch window"]) -> Float[Tensor, "batch window"]:
        """Pad(x) + M * theta  (eq. 1)."""
        theta = F.dropout(self.pattern, self.dropout, self.training)
        return _within(prepared + self.mask_ * theta, self.bounds, self.clip)

    def extra_repr(self) -> str:
        return f"segments={self.segments}, dropout={self.dropout}, mask={self.mask}"


class ModulateSeries(Transformation):
    """The series as the pitch and loudness of a tone in the speech band, and the program over it.

    A z-normalised series padded into a window of sound leaves a speech model nearly blind; a tone
    whose frequency follows the series speaks in the band where its front end listens.

    ``f(t) = base * 2^(octaves * z(t))``, ``a(t) = level * (1 + depth * tanh z(t)) / (1 + depth)``,
    with ``z`` the standardised series interpolated over the window, plus a trainable pattern.

    Arguments:
        base: Frequency of the series' mean, in hertz.
        octaves: Octaves for each standard deviation of the series.
        depth: Depth of the amplitude modulation, in [0, 1].
        level: Largest amplitude of the tone, in units of the source's bound.
        dropout: Rate of dropout on the pattern while training, in [0, 1).
        clip: Whether the sum is clipped to the source's bounds.
        seed: Of the initial pattern, Glorot-uniform.

    Example:
        >>> ModulateSeries(base=400.0, depth=0.5)
        ModulateSeries(base=400.0 Hz, octaves=1.0, depth=0.5, level=0.5)
    """

    def __init__(
        self,
        *,
        base: float = 400.0,
        octaves: float = 1.0,
        depth: float = 0.5,
        level: float = 0.5,
        dropout: float = 0.0,
        clip: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if base <= 0:
            raise UserError(f"argument 'base' is {base} Hz; give a positive frequency")
        if not 0 <= depth <= 1:
            raise UserError(f"argument 'depth' is {depth}; give a value in [0, 1]")
        if not 0 <= dropout < 1:
            raise UserError(f"argument 'dropout' is {dropout}; give a rate in [0, 1)")
        self.base, self.octaves, self.depth, self.level = base, octaves, depth, level
        self.dropout, self.clip, self.seed = dropout, clip, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Read the window and the rate, draw the initial pattern (window,).

        Raises:
            UserError: if the series is not univariate or the source has no sampling rate.
        """
        require_kinds(self, source, "waveform", task, "series")
        _univariate(self, task)
        if source.input.rate is None:
            raise UserError(f"source {source.uri or 'given'} does not say its rate in hertz")
        self.window, self.rate = source.input.shape[0], source.input.rate
        self.bounds = source.input.lower, source.input.upper
        self.mean, self.std = task.input.mean, task.input.std
        self.pattern = nn.Parameter(
            seeded_uniform((self.window,), glorot(self.window, 1), self.seed)
        )

    def prepare(self, x: Float[Tensor, "batch 1 length"]) -> Float[Tensor, "batch window"]:
        """The tone, from phase zero."""
        z = (x - self.mean) / self.std
        z = F.interpolate(z, self.window, mode="linear", align_corners=True)[:, 0]
        highest = 0.45 * self.rate  # safely below the Nyquist frequency
        frequency = (self.base * torch.exp2(self.octaves * z)).clamp(max=highest)
        cycles = (frequency / self.rate).double().cumsum(1)  # float32 would lose the phase
        amplitude = self.level * (1 + self.depth * z.tanh()) / (1 + self.depth)
        return amplitude * torch.sin(2 * math.pi * (cycles % 1)).to(x.dtype)

    def forward(self, prepared: Float[Tensor, "batch window"]) -> Float[Tensor, "batch window"]:
        """The tone plus the pattern."""
        theta = F.dropout(self.pattern, self.dropout, self.training)
        return _within(prepared + theta, self.bounds, self.clip)

    def extra_repr(self) -> str:
        return (
            f"base={self.base} Hz, octaves={self.octaves}, depth={self.depth}, level={self.level}"
        )


class SeriesToFeatures(Transformation):
    """The series written as features behind the front end, by one convolution or two.

    The series is interpolated to the door's frames and convolved into its bands; differentiating
    starts behind the spectrogram, so a step is cheaper than through the waveform.

    Arguments:
        width: Frames that the convolution sees, odd.
        hidden: Channels of a first convolution with ReLU; 0 for a single one.
        dropout: Rate of dropout on the features while training, in [0, 1).
        seed: Of the initial weights, U(-1/sqrt(fan_in), 1/sqrt(fan_in)).

    Example:
        >>> from reprogram.sources import CallableSource
        >>> from reprogram.types import InputSpec, OutputSpec, TaskSpec
        >>> source = CallableSource(
        ...     len, InputSpec("features", (125, 80)), OutputSpec("classes", (2,)))
        >>> task = TaskSpec("toy", InputSpec("series", (1, 24)), ("a", "b"))
        >>> write = SeriesToFeatures(width=9)
        >>> write.bind(source, task)
        >>> write(write.prepare(torch.randn(2, 1, 24))).shape
        torch.Size([2, 125, 80])
        >>> sum(p.numel() for p in write.parameters())
        800
    """

    def __init__(
        self, *, width: int = 9, hidden: int = 0, dropout: float = 0.0, seed: int = 0
    ) -> None:
        super().__init__()
        if width < 1 or width % 2 == 0:
            raise UserError(f"argument 'width' is {width}; give an odd number of frames")
        if not 0 <= dropout < 1:
            raise UserError(f"argument 'dropout' is {dropout}; give a rate in [0, 1)")
        self.width, self.hidden, self.dropout, self.seed = width, hidden, dropout, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the convolutions for the task's channels and the door's bands."""
        require_kinds(self, source, "features", task, "series")
        self.frames, bands = source.input.shape
        self.bounds = source.input.lower, source.input.upper
        self.mean, self.std = task.input.mean, task.input.std
        sizes = [task.input.shape[0], *([self.hidden] if self.hidden else []), bands]
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(itertools.pairwise(sizes)):
            # torch's own initial values would be drawn from the global generator
            conv = nn.utils.skip_init(nn.Conv1d, before, after, self.width, padding=self.width // 2)
            bound = 1 / math.sqrt(before * self.width)
            for j, parameter in enumerate(conv.parameters()):
                parameter.data = seeded_uniform(parameter.shape, bound, self.seed + 2 * i + j)
            layers += [conv, nn.ReLU()]
        self.net = nn.Sequential(*layers[:-1])

    def prepare(
        self, x: Float[Tensor, "batch channels length"]
    ) -> Float[Tensor, "batch channels frames"]:
        """The standardised series at the door's frame rate."""
        z = (x - self.mean) / self.std
        return F.interpolate(z, self.frames, mode="linear", align_corners=True)

    def forward(
        self, prepared: Float[Tensor, "batch channels frames"]
    ) -> Float[Tensor, "batch frames bands"]:
        """The convolved series, frames first."""
        features = F.dropout(self.net(prepared), self.dropout, self.training)
        return _within(features.transpose(1, 2), self.bounds, True)

    def extra_repr(self) -> str:
        return f"width={self.width}, hidden={self.hidden}, dropout={self.dropout}"


def _univariate(part: nn.Module, task: TaskSpec) -> int:
    channels, length = task.input.shape
    if channels != 1:
        raise UserError(
            f"{type(part).__name__} takes a series of one channel; {task.name} has {channels}: "
            "use the recipe series-to-features"
        )
    return length


def _within(x: Tensor, bounds: tuple[float, float], clip: bool) -> Tensor:
    return x.clamp(*bounds) if clip and any(map(math.isfinite, bounds)) else x
