"""Your own frozen model and your own series: any ``nn.Module``, any table.

    python examples/own_model.py

The source is a small network trained here to tell four pitches apart; the target is another task,
whether a series rises or falls, written as the features the network reads.
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import reprogram
from reprogram.sources import TorchSource


def pitch_network(steps: int = 150) -> nn.Module:
    """Trained on sines of four frequencies over 32 frames of 8 bands."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(32 * 8, 32), nn.ReLU(), nn.Linear(32, 4))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    time = torch.arange(32)[:, None] / 32
    for _ in range(steps):
        pitch = torch.randint(4, (64,))
        phase = torch.rand(64, 1, 1)
        x = torch.sin(6.283 * ((pitch + 1).view(-1, 1, 1) * time + phase)).expand(-1, -1, 8)
        loss = nn.functional.cross_entropy(network(x + 0.1 * torch.randn_like(x)), pitch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def main(epochs: int = 30) -> float:
    source = TorchSource(
        pitch_network(),
        reprogram.OutputSpec("classes", (4,), ("one", "two", "three", "four")),
        input=reprogram.InputSpec("features", (32, 8)),
    )
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "trends.csv"
        torch.manual_seed(1)
        with table.open("w") as file:
            print("label", *[f"t{i}" for i in range(20)], sep=",", file=file)
            for i in range(200):
                slope = 1 if i % 2 else -1
                series = slope * torch.linspace(-1, 1, 20) + 0.5 * torch.randn(20)
                print("rises" if i % 2 else "falls", *series.tolist(), sep=",", file=file)
        task = reprogram.load_task(str(table))
    training = reprogram.recipes.series_to_features(source, task, epochs=epochs)
    program = reprogram.fit(training, task)
    print(f"test accuracy {program.metrics['test']['accuracy']:.3f}")
    print(f"parameters trained {program.trained}; source unchanged: "
          f"{program.metrics['source_unchanged']}")  # fmt: skip
    return program.metrics["test"]["accuracy"]


if __name__ == "__main__":
    main()
