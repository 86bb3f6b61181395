"""Figures of the visual papers on real data, a seed each: `-m paper`, some minutes."""

import pytest

import reprogram
from reprogram.diagnose import linear_probe

pytestmark = pytest.mark.paper
MOBILENET = "zoo:imagenet-mobilenet-v1-0.25-128"


@pytest.fixture(autouse=True)
def _data(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))


def accuracy(recipe: str, source: str, task: str, **numbers) -> tuple[float, float]:
    """Of the program and of the readout of the untouched source, on test."""
    compose = reprogram.recipes.find(recipe)
    loaded, data = reprogram.load_source(source), reprogram.load_task(task)
    program = reprogram.fit(compose(loaded, data, **numbers), data)
    readout = linear_probe(compose(loaded, data, **numbers), data, features=False)
    assert program.metrics["source_unchanged"]
    return program.metrics["test"]["accuracy"], readout["accuracy"]


def test_squares_are_counted():
    found, readout = accuracy("ar", MOBILENET, "counting?limit=2000&validation=500", epochs=3)
    assert found >= 0.99
    assert found >= readout


def test_digits_from_imagenet_beat_the_readout():
    found, readout = accuracy(
        "ar", MOBILENET, "mnist?limit=4000&validation=500&test=2000", epochs=3
    )
    assert found > readout


def test_digits_from_cifar10():
    found, readout = accuracy(
        "smm", "zoo:cifar10-resnet20", "mnist?limit=6000&validation=500&test=2000", epochs=3,
        batch_size=64, mapping="Linear",
    )  # fmt: skip
    assert found >= 0.92 > readout
