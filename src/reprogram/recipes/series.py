"""Time series on a speech model: Voice2Series as published, and two ways past it."""

from __future__ import annotations

from typing import Unpack

from reprogram.recipes.base import Shared, assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import ModulateSeries, PadSeries, SeriesToFeatures


@recipe(
    without=("weight_decay",), epochs=100, batch_size=32, learning_rate=0.05, mapping="ManyToOne"
)
def v2s(
    source: Source,
    task: Task,
    *,
    l2: float = 0.04,
    segments: int = 1,
    dropout: float = 0.0,
    **shared: Unpack[Shared],
) -> Training:
    """The series padded into the window of a speech model, a program around it.

    As in the paper, Adam has a constant rate, and the mapping is many-to-one over random groups.

    References:
        | Voice2Series: Reprogramming Acoustic Models for Time Series Classification
          (Yang, Tsai, Chen, 2021). https://arxiv.org/abs/2106.09296

    Arguments:
        source: With a ``waveform`` door.
        task: Of univariate series, shorter than the window.
        l2: Coefficient of ``|theta|^2`` in the loss.
        segments: Copies of the series; the paper chooses among 1 to 10 for each task.
        dropout: On the program; the paper chooses among 0 to 0.4.
    """
    del task
    shared["weight_decay"] = 2 * l2  # Adam's penalty is half of it
    transformation = PadSeries(segments=segments, dropout=dropout, seed=shared["seed"])
    return assemble(source.door("waveform"), transformation, scheduler=None, **shared)


@recipe(epochs=60, batch_size=32, mapping="Linear")
def v2s_fm(
    source: Source,
    task: Task,
    *,
    base: float = 400.0,
    octaves: float = 1.0,
    depth: float = 0.5,
    level: float = 0.5,
    dropout: float = 0.0,
    **shared: Unpack[Shared],
) -> Training:
    """The series as a tone in the speech band, whose pitch and loudness follow it.

    Arguments:
        source: With a ``waveform`` door.
        task: Of univariate series.
        base: Frequency of the series' mean, in hertz.
        octaves: Octaves for each standard deviation.
        depth: Depth of the amplitude modulation, in [0, 1].
        level: Largest amplitude of the tone.
        dropout: On the program.
    """
    del task
    tone = ModulateSeries(
        base=base, octaves=octaves, depth=depth, level=level, dropout=dropout, seed=shared["seed"]
    )
    return assemble(source.door("waveform"), tone, **shared)


@recipe(epochs=60, batch_size=32, mapping="Linear")
def series_to_features(
    source: Source,
    task: Task,
    *,
    width: int = 9,
    hidden: int = 0,
    dropout: float = 0.0,
    **shared: Unpack[Shared],
) -> Training:
    """The series written as features behind the front end, by a trainable convolution.

    Arguments:
        source: With a ``features`` door, such as the log-mel of a speech model.
        task: Of series, of any number of channels.
        width: Frames that the convolution sees, odd.
        hidden: Channels of a first convolution; 0 for none.
        dropout: On the features.
    """
    del task
    written = SeriesToFeatures(width=width, hidden=hidden, dropout=dropout, seed=shared["seed"])
    return assemble(source.door("features"), written, **shared)
