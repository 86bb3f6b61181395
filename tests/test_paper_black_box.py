"""Programs found by queries alone on a real network: above what the mapping reads without them."""

from pathlib import Path

import pytest
import torch

import reprogram
from reprogram import diagnose
from reprogram.sources import restricted
from reprogram.types import UserError

pytestmark = pytest.mark.paper
NETWORK = "zoo:imagenet-mobilenet-v1-0.25-128"


def loaded(task: str) -> tuple[reprogram.sources.Source, reprogram.tasks.Task]:
    try:
        return reprogram.load_source(NETWORK), reprogram.load_task(task)
    except UserError as error:
        pytest.skip(f"needs the network and the task: {error}")


@pytest.mark.parametrize(
    ("task", "access", "queries", "gain"),
    [
        ("mnist?limit=160&validation=100&test=1000", "probabilities", 10_000, 0.03),
        ("mnist?limit=1000&validation=200&test=1000", "label", 30_000, 0.03),
    ],
)
def test_a_program_adds_to_its_mapping(
    task: str, access: str, queries: int, gain: float, tmp_path: Path
) -> None:
    source, data = loaded(task)
    pytest.importorskip("onnxruntime", reason="pip install 'reprogram[onnx]'")
    from reprogram.sources.onnx_export import export_onnx

    file = export_onnx(source, tmp_path / "network.onnx")
    black_box = restricted(reprogram.load_source(f"onnx:{file}"), access)
    torch.set_num_threads(1)
    numbers = {"epochs": 100_000, "validations": 3, "batch_size": 64 if access == "label" else 32}
    bvp = reprogram.recipes.bvp
    floor = diagnose.mapping_alone(bvp(black_box, data, **numbers), data)["accuracy"]
    program = reprogram.fit(bvp(black_box, data, **numbers, queries=queries), data)
    assert program.metrics["test"]["accuracy"] > floor + gain
    assert program.metrics["queries"] <= queries + 1000  # and test
