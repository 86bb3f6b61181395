"""Arguments, tasks and doors that input transformations refuse, in one line each."""

import math
from collections.abc import Callable

import pytest
from doors import image_door, images, series, table, waveform_door
from tiny import BANDS, FRAMES, WINDOW
from typechecker import unchecked

from reprogram.sources import CallableSource
from reprogram.transformations import (
    Channels,
    Crop,
    Frame,
    ModulateSeries,
    Overlay,
    PadSeries,
    Resize,
    SampleMask,
    ScaledFrame,
    SeriesToFeatures,
    TableOverlay,
    Transformation,
)
from reprogram.types import TaskSpec, UserError


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
        (lambda: Overlay(width=0), "'width' is 0"),
        (lambda: Overlay(start="ones"), "'start' is 'ones'"),
        (lambda: Overlay(squash="none", strength=0.5), "'strength' is 0.5 with squash 'none'"),
        (lambda: SampleMask(layers=4), "'layers' is 4; give 5 or 6"),
        (lambda: SampleMask(patch=3), "'patch' is 3; 5 layers allow 1, 2, 4, 8, 16"),
        (lambda: SampleMask(patch=32), "'patch' is 32; 5 layers"),
        (lambda: ScaledFrame(scale=0.05), "'scale' is 0.05; give 0.1 to 5.0"),
        (lambda: ScaledFrame(squash="none"), "'squash' is 'none'"),
        (lambda: TableOverlay(host="black"), "'host' is 'black'"),
        (lambda: TableOverlay(colour="red"), "'colour' is 'red'"),
        (lambda: TableOverlay(size=0), "'size' is 0"),
        (lambda: Crop(padding=0), "'padding' is 0"),
    ],
)
def test_a_bad_argument_is_named(make: Callable[[], Transformation], said: str) -> None:
    with unchecked(), pytest.raises(UserError, match=said):
        make()


@pytest.mark.parametrize(
    ("part", "source", "spec", "said"),
    [
        (PadSeries(), waveform_door(64), images(8, 8), "task of kind 'series'.*'image'"),
        (PadSeries(), image_door(8), series(5), "writes 'waveform'.*takes 'image'"),
        (PadSeries(), waveform_door(64), series(5, channels=2), "one channel; toy has 2"),
        (ModulateSeries(), waveform_door(64), series(5), "does not say its rate"),
        (ModulateSeries(), waveform_door(64, 8.0), series(5, channels=3), "toy has 3"),
        (SeriesToFeatures(), waveform_door(64), series(5), "writes 'features'"),
        (Frame(), waveform_door(64), images(8, 8), "writes 'image'"),
        (Frame(), image_door(9, upper=math.inf), images(8, 8), "needs finite bounds"),
        (Overlay(), image_door(9), images(8, 8), "8x8 pixels .* 9x9; put Resize"),
        (Overlay(), image_door(8, lower=-math.inf), images(8, 8), "needs finite bounds"),
        (Frame(), image_door(9), series(8), "task of kind 'image'"),
        (Frame(), image_door(9), images(8, 8, 2), "images of 2 channels for a source of 3"),
        (Overlay(width=4), image_door(8), images(8, 8), "'width' is 4: a border .* 8x8"),
        (SampleMask(), image_door(9), images(8, 8), "put Resize before SampleMask"),
        (SampleMask(), image_door(7), images(7, 7), "'patch' is 8, larger than .* 7x7"),
        (ScaledFrame(scale=2.0), image_door(16), images(8, 8), "8x8 .* scale 2.0 .* 16x16"),
        (TableOverlay(), image_door(8), images(8, 8), "task of kind 'table'"),
        (TableOverlay(), waveform_door(64), table(3), "writes 'image'"),
        (TableOverlay(size=9), image_door(8), table(3), "'size' is 9, larger than .* 8x8"),
        (TableOverlay(), image_door(8), table(17), "17 features need a grid of 5x5 .* is 4"),
        (TableOverlay(), image_door(8, upper=math.inf), table(3), "needs finite bounds"),
        (Crop(padding=8), image_door(8), images(8, 9), "'padding' is 8: an image of 8x9"),
        (Channels(), image_door(8), series(8), "task of kind 'image'"),
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
