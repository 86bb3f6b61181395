"""What a source costs on onnxruntime, beside torch.

    python benchmarks/onnx_forward.py [--rounds 5] [--threads 1] [--sources zoo:images ...]

Prints, for several batch sizes, milliseconds an image both ways, measured in turns in one run, and
the ratio of the medians. The sources are public downloads, or stand in the folder of raw files.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

import reprogram
from reprogram.sources import Source
from reprogram.sources.onnx import OnnxSource
from reprogram.sources.onnx_export import export_onnx

SOURCES = ("zoo:imagenet-mobilenet-v1-0.25-128", "zoo:cifar10-resnet20")
BATCHES = (1, 64, 512)
SAMPLES = 512  # in a round, whatever the batch: one call of many or many of few


def seconds(source: Source, x: torch.Tensor, calls: int) -> float:
    """Of some forwards of a batch, divided by its samples."""
    began = time.perf_counter()
    with torch.no_grad():
        for _ in range(calls):
            source(x)
    return (time.perf_counter() - began) / (calls * len(x))


def measure(source: Source, exported: Source, size: int, rounds: int) -> tuple[float, float]:
    """Median seconds a sample: torch, onnxruntime."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((size, *source.input.shape), generator=generator)
    calls = max(1, min(100, SAMPLES // size))
    times = [(seconds(source, x, calls), seconds(exported, x, calls)) for _ in range(rounds + 1)]
    ours, theirs = zip(*times[1:], strict=True)  # the first warms up
    return statistics.median(ours), statistics.median(theirs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sources", nargs="+", default=SOURCES)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{options.threads} threads, median of {options.rounds}")
    print(f"{'source':36} {'batch':>5} {'torch':>12} {'ONNX':>12} {'ONNX / torch':>13}")
    for uri in options.sources:
        source = reprogram.load_source(uri)
        with tempfile.TemporaryDirectory() as folder:
            exported = OnnxSource(export_onnx(source, Path(folder) / "model.onnx"))
        for size in BATCHES:
            ours, theirs = measure(source, exported, size, options.rounds)
            print(f"{uri:36} {size:5} {1000 * ours:9.3f} ms {1000 * theirs:9.3f} ms "
                  f"{theirs / ours:13.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
