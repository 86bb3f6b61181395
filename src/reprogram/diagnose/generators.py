"""Controls of programs that draw: what the same labelled images give without them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from reprogram import optim
from reprogram.criteria import Adversarial
from reprogram.diagnose.classical import reported_split
from reprogram.diagnose.controls import Metrics
from reprogram.draws import forked_rng
from reprogram.evaluation import Prepared, judge_of, measure
from reprogram.likeness import likeness
from reprogram.mappings import Pixels
from reprogram.model import Reprogrammed
from reprogram.sources import Source, TorchSource
from reprogram.tasks.base import Task
from reprogram.train import Training, fit
from reprogram.transformations import Transformation
from reprogram.types import InputSpec, OutputSpec, SourceLike, TaskSpec, UserError

CALL, CALLS = 256, 200  # draws at a time, and how often before a class is given up
SMALL = 8  # the side that a generator begins with, at most


def conditional_gan(
    task: Task,
    *,
    steps: int = 4000,
    batch_size: int = 64,
    learning_rate: float = 3e-4,
    discriminator_lr: float = 6e-4,
    betas: tuple[float, float] = (0.5, 0.99),
    width: int = 32,
    shift: int = 2,
    noise: int = 64,
    channels: int = 96,
    seed: int = 0,
) -> Metrics:
    """Of a conditional GAN that was trained on the same labelled images and nothing else.

    Batches, rates and betas are those of ``zoo:digits-gan``, and so are its discriminator, with a
    row for each class, and the size of its generator, of noise and as many numbers for a class: a
    linear layer and transposed convolutions with batch-norm, and one more. It takes fewer steps and
    no average of the generator's weights. It runs through :func:`reprogram.fit` as a transformation
    in front of a source that does nothing.

    Arguments:
        task: That wants images of classes, with a test split.
        steps: Of the generator and of the discriminator, rounded up to whole epochs.
        batch_size: Samples in a step.
        learning_rate: Of the generator's Adam; it falls along a line to zero.
        discriminator_lr: Of the discriminator's; likewise.
        betas: Of both.
        width: Channels of the discriminator.
        shift: Most pixels by which what it sees is moved.
        noise: Numbers that are drawn for a sample.
        channels: Of the generator's first map; each later one has half of them.
        seed: Of every draw.

    Raises:
        UserError: if the task wants no images, or there is no test split.
    """
    reported_split(task)
    shape = _wanted(task)
    nothing = TorchSource(
        nn.Identity(), OutputSpec("image", shape), input=InputSpec("image", shape, 0, 1)
    )
    training = Training(
        source=nothing,
        transformation=_Generator(noise=noise, channels=channels, seed=seed),
        mapping=Pixels(),
        optimizer=optim.Backprop(
            partial(torch.optim.Adam, lr=learning_rate, betas=betas), scheduler=optim.linear
        ),
        epochs=math.ceil(steps / math.ceil(len(task.train) / batch_size)),
        batch_size=batch_size,
        criterion=Adversarial(
            steps=1,
            learning_rate=discriminator_lr,
            betas=betas,
            width=width,
            network="plain",
            shift=shift,
            seed=seed,
        ),
        seed=seed,
        keep_best=False,
        validations=1,
    )
    return fit(training, task).metrics["test"]


def rejection(source: Source, task: Task, *, rows: int = 10_000, seed: int = 0) -> Metrics:
    """Of the frozen generator's own images, kept where a classifier reads the wanted class.

    The classifier is a support vector machine with a radial kernel, fitted to the pixels of the
    same labelled images. Besides the metrics there is ``kept``, the share of the draws that served;
    a class that is met too rarely gets whatever comes.

    Arguments:
        source: A generator of images from noise.
        task: That wants images of classes, with a test split.
        rows: Labelled images that the classifier learns from, at most.
        seed: Of their choice.

    Raises:
        UserError: if the task wants no images, or there is no test split.
    """
    test = reported_split(task)
    source = source.door("noise")
    drawn = _Kept(source, _reader(task, rows, seed))
    mapping = Pixels()
    drawn.bind(source, task.spec)
    mapping.bind(source, task.spec)
    model = Reprogrammed(source, drawn, mapping)
    told = measure(model, Prepared(drawn, test, "cpu"), CALL, judge_of(task.spec))
    return {**told, "kept": drawn.served / max(drawn.tried, 1)}


def real(task: Task) -> Metrics:
    """Of real images that nothing made: what the judge is worth, and the least that a distance can
    be. They are those of validation, or else of train.

    Arguments:
        task: That wants images of classes, with a test split and a judge.

    Raises:
        UserError: if the task wants no images, names no judge, or there is no test split.
    """
    _wanted(task)
    if (judge := judge_of(task.spec)) is None:
        raise UserError(f"{task.spec.name} names no judge; take ?judge=zoo:digits")
    test, other = reported_split(task), task.validation or task.train
    images, weights = test.wanted(torch.arange(len(test)))
    made, classes = other.wanted(torch.arange(len(other)))
    return likeness(made, images, classes.argmax(1), weights.argmax(1), judge)


def _wanted(task: Task) -> tuple[int, ...]:
    """Shape of the images that a task wants."""
    if task.spec.target != "image" or not task.spec.classes:
        raise UserError(f"{task.spec.name} asks for {task.spec.target}; this control draws images "
                        "of classes: take a task such as draw:mnist")  # fmt: skip
    return task.spec.shape


def _reader(task: Task, rows: int, seed: int) -> Callable[[Tensor], Tensor]:
    """Images (n, channels, height, width) in [0, 1] -> classes (n,), learned from train."""
    from sklearn.svm import SVC

    _wanted(task)
    order = torch.randperm(len(task.train), generator=torch.Generator().manual_seed(seed))[:rows]
    images, shown = task.train.wanted(order)
    machine = SVC(C=10).fit(images.flatten(1).numpy(), shown.argmax(1).numpy())
    return lambda x: torch.from_numpy(machine.predict(x.flatten(1).numpy())).long()


class _Generator(Transformation):
    """A class and noise to an image, by a linear layer and transposed convolutions."""

    random = True

    def __init__(self, *, noise: int, channels: int, seed: int) -> None:
        super().__init__()
        self.noise, self.channels, self.seed = noise, channels, seed

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Create the layers under the seed."""
        colours, *self.sides = source.input.shape
        sides = self.sides
        halvings = max(0, math.ceil(math.log2(max(sides) / SMALL)))
        height, width = (math.ceil(side / 2**halvings) for side in sides)
        widths = [max(self.channels >> i, 8) for i in range(halvings + 1)]
        with forked_rng(self.seed, 0):
            self.table = nn.Embedding(len(task.classes), self.noise)
            layers: list[nn.Module] = [
                nn.Linear(2 * self.noise, widths[0] * height * width, bias=False),
                nn.Unflatten(1, (widths[0], height, width)), nn.BatchNorm2d(widths[0]), nn.ReLU(),
            ]  # fmt: skip
            for given, made in pairwise(widths):
                layers.append(nn.ConvTranspose2d(given, made, 4, stride=2, padding=1, bias=False))
                layers += [nn.BatchNorm2d(made), nn.ReLU()]
            layers.append(nn.Conv2d(widths[-1], colours, 3, padding=1))
            network = nn.Sequential(*layers, nn.Sigmoid())
        # Quicker on a CPU, the same numbers.
        self.layers = network.to(memory_format=torch.channels_last)  # pyright: ignore

    def prepare(self, x: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Classes as indices."""
        return x.long()

    def forward(self, prepared: Int[Tensor, " batch"]) -> Float[Tensor, "batch c h w"]:
        """Images of the wanted classes."""
        u = torch.randn(len(prepared), self.noise, device=prepared.device)
        images = self.layers(torch.cat([u, self.table(prepared)], 1))
        height, width = self.sides
        return images[..., :height, :width]


class _Kept(Transformation):
    """Noise that the source makes an image of which a classifier reads as the wanted class."""

    random = True

    def __init__(self, source: Source, reads: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.source, self.reads = source, reads
        self.tried = self.served = 0

    def bind(self, source: SourceLike, task: TaskSpec) -> None:
        """Learn the size of the noise."""
        self.classes, (self.size,) = len(task.classes), source.input.shape

    def prepare(self, x: Float[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Classes as indices."""
        return x.long()

    @torch.no_grad()
    def forward(self, prepared: Int[Tensor, " batch"]) -> Float[Tensor, "batch z"]:
        """Noise for the wanted classes, drawn until each is served."""
        noise = torch.randn(len(prepared), self.size)
        waiting = torch.ones(len(prepared), dtype=torch.bool)
        for _ in range(CALLS):
            if not waiting.any():
                break
            z = torch.randn(CALL, self.size)
            read = self.reads(self.source(z))
            for label in range(self.classes):
                open_, found = (waiting & (prepared == label)).nonzero()[:, 0], z[read == label]
                some = open_[: len(found)]
                noise[some], waiting[some] = found[: len(some)], False
            self.tried += CALL
        self.served += int((~waiting).sum())
        return noise
