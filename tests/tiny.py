"""Sources and tasks so small that a test may train on them many times."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from reprogram.sources import CallableSource, Source, Stage, TorchSource
from reprogram.tasks.base import Split, Task, specification
from reprogram.types import InputSpec, OutputSpec, Scores

FRAMES, BANDS, WINDOW = 16, 4, 64
CLASSES = 7  # of every tiny source
SIDE = 20  # of the images they take


class SpeechNetwork(nn.Module):
    """Features to logits with one of each layer that training treats in its own way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(BANDS, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.dropping = nn.LSTM(8, 8, num_layers=2, dropout=0.5, batch_first=True)
        self.out = nn.Linear(32, CLASSES)

    def features(self, x: Tensor) -> Tensor:
        """(batch, frames, bands) -> (batch, 32)."""
        x = self.dropout(self.norm(self.conv(x.transpose(1, 2))).relu()).transpose(1, 2)
        x = x + self.lstm(x)[0]
        x = x + self.dropping(x)[0]
        return nn.functional.adaptive_avg_pool1d(x.transpose(1, 2), 4).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, frames, bands) -> (batch, classes)."""
        return self.out(self.features(x))


class Fold(nn.Module):
    """Waveforms to features: the samples, laid out as frames and bands."""

    def forward(self, x: Tensor) -> Tensor:
        """(batch, window) -> (batch, frames, bands)."""
        return 2 * x.reshape(-1, FRAMES, BANDS)


class ImageNetwork(nn.Module):
    """Images to logits: two convolutions with batch-norm, the mean over four quarters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.out = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, 3, side, side) -> (batch, classes)."""
        x = self.norm1(self.conv1(x)).relu()
        x = self.norm2(self.conv2(x)).relu()
        return self.out(nn.functional.adaptive_avg_pool2d(x, 2).flatten(1))


def seeded(make: Callable[[], nn.Module], seed: int = 0) -> Any:
    """A network of initial weights from a seed, its batch-norm statistics away from 0 and 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = make()
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.weight.data *= 5  # a source that says something
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.running_mean = 0.1 * torch.randn(module.num_features)
                module.running_var = 0.5 + torch.rand(module.num_features)
    return network


def output_spec() -> OutputSpec:
    """Seven named classes."""
    return OutputSpec("classes", (CLASSES,), tuple("abcdefg"))


def speech_source(seed: int = 0) -> TorchSource:
    """With the doors ``waveform`` and ``log-mel``."""
    stages = [
        Stage("waveform", InputSpec("waveform", (WINDOW,), -1, 1, rate=64.0), Fold()),
        Stage("log-mel", InputSpec("features", (FRAMES, BANDS)), seeded(SpeechNetwork, seed)),
    ]
    return TorchSource(stages, output_spec())


def image_source(seed: int = 0) -> TorchSource:
    """With the door ``image``."""
    spec = InputSpec("image", (3, SIDE, SIDE), 0, 1)
    return TorchSource(seeded(ImageNetwork, seed), output_spec(), input=spec)


def linear_source(inputs: int = 2, seed: int = 0) -> TorchSource:
    """A linear map of a table: cheap, and its gradient is known."""
    spec = InputSpec("table", (inputs,))
    return TorchSource(seeded(lambda: nn.Linear(inputs, CLASSES), seed), output_spec(), input=spec)


def black_box(source: Source, scores: Scores = Scores.LOGITS) -> CallableSource:
    """The same source behind a call that lets no gradient pass."""
    answers: dict[Scores, Callable[[Tensor], Any]] = {
        Scores.LOGITS: lambda z: z.numpy(),
        Scores.PROBABILITIES: lambda z: z.softmax(1).tolist(),
        Scores.TOP_K: lambda z: tuple(t.numpy() for t in reversed(z.softmax(1).topk(2))),
        Scores.LABEL: lambda z: z.argmax(1).numpy(),
    }
    return CallableSource(
        lambda x: answers[scores](source(x)), source.input, source.output, scores=scores
    )


class Counted:
    """Calls of a source and the samples in each, while the hook hangs on it."""

    def __init__(self, source: Source) -> None:
        self.rows: list[int] = []
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        source.register_forward_hook(self._seen)

    def _seen(self, module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        del module
        self.rows.append(len(args[0]))
        self.inputs.append(args[0].detach())
        self.outputs.append(output.detach())


def series_task(*, train: int = 20, validation: int = 30, test: int = 12, seed: int = 0) -> Task:
    """Three noisy shapes of twelve samples, of mean 3 and deviation 2 or so."""
    at = torch.linspace(0, 6.28, 12)
    shapes = torch.stack([at.sin(), (2 * at).cos(), at / 3 - 1])
    return _task("shapes", "series", shapes[:, None], (train, validation, test), seed, 3.0, 2.0)


def image_task(*, train: int = 20, validation: int = 30, test: int = 12, seed: int = 0) -> Task:
    """Three corners of a grey image that shine."""
    corners = torch.zeros(3, 1, 8, 8)
    corners[0, :, :4, :4] = corners[1, :, 4:, :4] = corners[2, :, 4:, 4:] = 1.0
    return _task("corners", "image", corners, (train, validation, test), seed, 0.3, 0.4)


def table_task(*, train: int = 20, validation: int = 30, test: int = 12, seed: int = 0) -> Task:
    """Three kinds of rows of five columns."""
    return _task("rows", "table", torch.eye(5)[:3], (train, validation, test), seed, 4.0, 2.0)


def _task(
    name: str, kind: Any, centres: Tensor, sizes: tuple[int, ...], seed: int, mean: float, by: float
) -> Task:
    generator = torch.Generator().manual_seed(seed)

    def split(n: int) -> Split | None:
        targets = torch.arange(n) % len(centres)
        noise = torch.randn((n, *centres.shape[1:]), generator=generator)
        inputs = mean + by * (centres[targets] + 0.3 * noise)
        inputs = inputs.clamp(0, 1) if kind == "image" else inputs
        return Split(inputs, targets, torch.ones(n), tuple(map(str, range(n)))) if n else None

    train, validation, test = map(split, sizes)
    assert train is not None
    return Task(specification(name, kind, ("x", "y", "z"), train), train, validation, test)
