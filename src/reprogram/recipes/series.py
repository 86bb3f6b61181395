"""Time series on a speech model: Voice2Series as published, and two ways past it."""

from __future__ import annotations

from reprogram import optim
from reprogram.criteria import ClassWeights
from reprogram.recipes.base import assemble, recipe
from reprogram.sources import Source
from reprogram.tasks.base import Task
from reprogram.train import Training
from reprogram.transformations import ModulateSeries, PadSeries, SeriesToFeatures


@recipe
def v2s(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    learning_rate: float = 0.05,
    l2: float = 0.04,
    segments: int = 1,
    dropout: float = 0.0,
    mapping: str = "ManyToOne",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """The series padded into the window of a speech model, a program around it.

    References:
        | Voice2Series: Reprogramming Acoustic Models for Time Series Classification
          (Yang, Tsai, Chen, 2021). https://arxiv.org/abs/2106.09296

    Arguments:
        source: With a ``waveform`` door.
        task: Of univariate series, shorter than the window.
        optimizer: By default Adam at a constant rate (the paper).
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of Adam.
        l2: Coefficient of ``|theta|^2`` in the loss.
        segments: Copies of the series; the paper chooses among 1 to 10 for each task.
        dropout: On the program; the paper chooses among 0 to 0.4.
        mapping: A public mapping; the paper's is many-to-one over random groups.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    return assemble(
        source.door("waveform"),
        PadSeries(segments=segments, dropout=dropout, seed=seed),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=2 * l2,  # Adam's penalty is half of it
        scheduler=None,  # the paper's rate is constant
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )


@recipe
def v2s_fm(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 60,
    batch_size: int = 32,
    learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    base: float = 400.0,
    octaves: float = 1.0,
    depth: float = 0.5,
    level: float = 0.5,
    dropout: float = 0.0,
    mapping: str = "Linear",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """The series as a tone in the speech band, whose pitch and loudness follow it.

    Arguments:
        source: With a ``waveform`` door.
        task: Of univariate series.
        optimizer: By default Adam with a cosine schedule.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of Adam.
        weight_decay: L2 coefficient of Adam.
        base: Frequency of the series' mean, in hertz.
        octaves: Octaves for each standard deviation.
        depth: Depth of the amplitude modulation, in [0, 1].
        level: Largest amplitude of the tone.
        dropout: On the program.
        mapping: A public mapping.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    return assemble(
        source.door("waveform"),
        ModulateSeries(
            base=base, octaves=octaves, depth=depth, level=level, dropout=dropout, seed=seed
        ),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )


@recipe
def series_to_features(
    source: Source,
    task: Task,
    *,
    optimizer: optim.Optimizer | None = None,
    epochs: int = 60,
    batch_size: int = 32,
    learning_rate: float = 0.01,
    weight_decay: float = 0.0,
    width: int = 9,
    hidden: int = 0,
    dropout: float = 0.0,
    mapping: str = "Linear",
    class_weights: ClassWeights = None,
    label_smoothing: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
) -> Training:
    """The series written as features behind the front end, by a trainable convolution.

    Arguments:
        source: With a ``features`` door, such as the log-mel of a speech model.
        task: Of series, of any number of channels.
        optimizer: By default Adam with a cosine schedule.
        epochs: Passes over the training split.
        batch_size: Samples in a step.
        learning_rate: Of Adam.
        weight_decay: L2 coefficient of Adam.
        width: Frames that the convolution sees, odd.
        hidden: Channels of a first convolution; 0 for none.
        dropout: On the features.
        mapping: A public mapping.
        class_weights: ``"balanced"`` or none.
        label_smoothing: Share of the label spread over all classes.
        seed: Of every random draw.
        device: Where to compute.
    """
    del task
    return assemble(
        source.door("features"),
        SeriesToFeatures(width=width, hidden=hidden, dropout=dropout, seed=seed),
        mapping=mapping,
        optimizer=optimizer,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        seed=seed,
        device=device,
    )
