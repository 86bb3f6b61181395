"""A pattern for each image, from features that are computed once."""

import copy
import math
from functools import partial

import pytest
import torch
from doors import image_door, images, series, waveform_door
from scipy.fft import dctn
from tiny import CLASSES, SIDE, black_box, image_source, image_task, output_spec, seeded
from torch import Tensor, nn
from torch.nn import functional as F
from typechecker import unchecked

import reprogram
from reprogram import parts, sources
from reprogram.criteria import CrossEntropy
from reprogram.mappings import Fixed
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.optim import SPSA, flatten
from reprogram.program import Program
from reprogram.sources import CallableSource, TorchSource
from reprogram.train import Training
from reprogram.transformations import Compose, Coordinator, Resize, Subspace
from reprogram.types import InputSpec, UserError


class Eye(nn.Module):
    """Sees images of a side, in 13 numbers or as many as wanted."""

    def __init__(self, side: int = 12, width: int = 13) -> None:
        super().__init__()
        self.linear, self.out = nn.Linear(3 * side * side, width), nn.Linear(width, CLASSES)
        self.seen: list[Tensor] = []

    def features(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return self.linear(x.flatten(1)).tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.features(x))


def _eye(side: int = 12, width: int = 13, bounds=(-2.0, 2.0)) -> TorchSource:
    spec = InputSpec("image", (3, side, side), *bounds)
    network = seeded(lambda: Eye(side, width))
    return TorchSource(network, output_spec(), input=spec, uri="zoo:eye")


def _network(encoder: TorchSource) -> Eye:
    (network,) = encoder.chain
    assert isinstance(network, Eye)
    return network


def _bound(encoder=None, *, side: int = SIDE, channels: int = 3, **numbers) -> Coordinator:
    part = Coordinator(encoder, **numbers)
    part.bind(image_door(side), images(side, side, channels, mean=0.3))
    return part


def _slow(part: Coordinator, features: Tensor, training: bool) -> Tensor:
    """The decoder layer by layer, its transposed convolutions as products."""
    tensors = {n: t.clone() for n, t in part.decoder.state_dict().items()}
    grid = part.grid
    y = torch.cat([features, part.vector.detach().repeat(len(features), 1)], 1)
    y = y.reshape(len(features), -1, grid, grid)
    at = 0
    for _ in part.widths:
        deep = tensors[f"{at}.weight"]  # (maps, wide / maps, 2, 2): each map by itself
        y = torch.einsum("bmij,mwkl->bmwikjl", y, deep)
        y = y.reshape(len(y), deep.shape[0] * deep.shape[1], 2 * grid, 2 * grid)
        grid *= 2
        y = torch.einsum("bwij,ow->boij", y, tensors[f"{at + 1}.weight"][:, :, 0, 0])
        norm = [tensors[f"{at + 2}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")]
        y = F.gelu(F.batch_norm(y, *norm, training=training))
        at += 4
    last = tensors[f"{at}.weight"]
    y = torch.einsum("bmij,mokl->boikjl", y, last).reshape(len(y), 3, 2 * grid, 2 * grid)
    y = F.interpolate(y, part.shape[1:], mode="bilinear", align_corners=False)
    return part.strength * 0.5 * y.tanh()


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("numbers", "channels"),
    [({}, 3), ({"grid": 5, "widths": [4], "strength": 0.2}, 1), ({"trigger": 32, "seed": 3}, 3)],
)
def test_it_is_the_papers_formula(numbers, channels, training) -> None:
    part = _bound(channels=channels, **numbers).train(training)
    x = torch.rand(4, channels, SIDE, SIDE)
    lowest = dctn((2 * x - 1).numpy(), axes=(2, 3), norm="ortho")[..., : part.grid, : part.grid]
    features = torch.from_numpy(lowest).flatten(1) / SIDE
    expected = (x + _slow(part, features, training)).clamp(0, 1)
    torch.testing.assert_close(part(part.prepare(x)).detach(), expected, atol=1e-5, rtol=1e-4)


def test_a_trained_encoder_sees_the_image_in_its_own_size_and_units() -> None:
    encoder = _eye()
    network = _network(encoder)
    part = _bound(encoder, channels=1)
    network.seen.clear()
    x = torch.rand(3, 1, SIDE, SIDE)
    prepared = part.prepare(x)
    (seen,) = network.seen
    expected = F.interpolate(x, (12, 12), mode="bilinear", antialias=True).repeat(1, 3, 1, 1)
    torch.testing.assert_close(seen, 4 * expected - 2)
    assert torch.equal(prepared[:, : SIDE**2], x.flatten(1))
    assert torch.equal(prepared[:, SIDE**2 :], network.features(seen))


def test_an_encoder_without_features_gives_its_output() -> None:
    box = CallableSource(lambda x: x.mean((2, 3)).numpy() @ torch.ones(3, CLASSES).numpy(),
                         InputSpec("image", (3, 12, 12), 0, 1), output_spec())  # fmt: skip
    part = _bound(box)
    x = torch.rand(2, 3, SIDE, SIDE)
    assert torch.equal(part.prepare(x)[:, 3 * SIDE**2 :], box(F.interpolate(
        x, (12, 12), mode="bilinear", antialias=True)))  # fmt: skip


def test_published_setting() -> None:
    part = Coordinator(_eye(4, 768), trigger=800, grid=7, widths=(64, 32, 32, 16))
    part.bind(image_door(224), images(224, 224, 3))
    biases = 64 + 64 + 32 + 32  # that the published code has in front of a batch-norm
    assert sum(p.numel() for p in part.parameters()) == 9_920 - biases
    maps = torch.zeros(1, 32, 7, 7)
    assert part.eval().decoder(maps).shape == (1, 3, 224, 224)  # nothing is interpolated
    assert part.vector.min() >= 0
    assert part.vector.max() <= 0.1


@pytest.mark.parametrize(("side", "channels"), [(32, 3), (64, 1), (128, 3)])
def test_the_default_is_small(side: int, channels: int) -> None:
    part = _bound(side=side, channels=channels)
    assert 300 <= sum(p.numel() for p in part.parameters()) <= 2000
    with_encoder = _bound(_eye(width=1024), side=side)
    assert sum(p.numel() for p in with_encoder.parameters()) <= 2000


@pytest.mark.parametrize(("width", "grid", "maps"), [(13, 4, 1), (16, 4, 2), (50, 5, 3)])
def test_the_trigger_fills_the_maps(width: int, grid: int, maps: int) -> None:
    part = _bound(_eye(width=width), grid=grid)
    assert len(part.vector) == maps * grid**2 - width
    longer = _bound(_eye(width=width), grid=grid, trigger=len(part.vector) + grid**2)
    assert longer.decoder[0].weight.shape[0] == maps + 1


def test_images_start_untouched_or_not() -> None:
    x = torch.rand(2, 3, SIDE, SIDE)
    zeros, uniform = _bound(start="zeros"), _bound()
    assert torch.equal(zeros(zeros.prepare(x)), x)
    change = (uniform(uniform.prepare(x)) - x).detach()
    assert change.abs().max() > 0.05
    assert change[0].ne(change[1]).any()  # each image has its own


def test_the_encoder_runs_once_an_image() -> None:
    task, source, encoder = image_task(), image_source(), _eye()
    rows = _network(encoder).seen
    part = Compose([Resize(SIDE), Coordinator(encoder)])
    training = Training(
        source=black_box(source), transformation=part, mapping=Fixed(), epochs=3, batch_size=10,
        optimizer=SPSA(partial(torch.optim.SGD, lr=0.01), directions=2),
    )  # fmt: skip
    program = reprogram.fit(training, task)
    assert program.metrics["queries"] > 3 * 20 * 4
    assert sum(map(len, rows)) == 1 + 20 + 30 + 12  # once at bind


def test_the_encoder_is_no_part_of_the_program() -> None:
    encoder = _eye()
    before = copy.deepcopy(encoder.state_dict())
    part = _bound(encoder).train()
    names = {n.split(".")[0] for n in part.state_dict()}
    assert names == {"vector", "decoder"}
    assert not any("encoder" in n for n, _ in part.named_buffers())
    part(part.prepare(torch.rand(3, 3, SIDE, SIDE))).sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in encoder.parameters())
    assert not encoder.training
    assert all(torch.equal(t, before[n]) for n, t in encoder.state_dict().items())


def test_the_encoder_follows() -> None:
    encoder = _eye()
    Compose([Resize(SIDE), Subspace(_bound(encoder), 3)]).to("meta")
    assert all(p.device.type == "meta" for p in encoder.parameters())


def test_a_picture_is_of_an_even_image_and_moves_no_statistics() -> None:
    part = _bound(_eye())
    even = torch.full((1, 3, SIDE, SIDE), 0.3)
    expected = (part.eval()(part.prepare(even)) - even)[0]
    part.train()
    before = {n: t.clone() for n, t in part.state_dict().items()}
    torch.testing.assert_close(part.picture(), expected, atol=1e-6, rtol=0)
    assert all(m.training for m in part.modules())
    assert all(torch.equal(t, before[n]) for n, t in part.state_dict().items())


def test_running_statistics_move_once_a_step() -> None:
    source, task = image_source(), image_task()
    part, mapping = Compose([Resize(SIDE), Coordinator()]), Fixed()
    for each in (part, mapping):
        each.bind(source, task.spec)
    model = Reprogrammed(source, part, mapping).train()
    x, y, w = task.train.batch(torch.arange(8))
    objective = BatchObjective(model, CrossEntropy(), (part.prepare(x), y, w), seed=0, step=0)
    counter = part.get_buffer("parts.1.decoder.2.num_batches_tracked")
    row = flatten(list(part.parameters()))
    objective(torch.stack([row, row + 0.1, row - 0.1]))
    assert counter == 1


def test_a_program_brings_its_encoder_along(tmp_path) -> None:
    task, source = image_task(), image_source()
    coordinator = Coordinator(sources.load("zoo:images"), strength=0.4)
    described = parts.describe(coordinator)["arguments"]
    assert described["encoder"]["source"] == "zoo:images"
    assert described["widths"] == [16, 8]
    training = Training(
        source=black_box(source), transformation=Compose([Resize(SIDE), coordinator]),
        mapping=Fixed(), epochs=1, batch_size=10, optimizer=SPSA(),
    )  # fmt: skip
    program = reprogram.fit(training, task)
    program.save(tmp_path / "run")
    again = Program.load(tmp_path / "run", black_box(source))
    x = task.test.inputs
    assert torch.equal(again.predict(x).probabilities, program.predict(x).probabilities)
    assert program.size < 20_000


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"grid": 0}, "'grid' is 0"),
        ({"widths": []}, r"'widths' is \[\]"),
        ({"widths": [4, 0]}, r"'widths' is \[4, 0\]"),
        ({"trigger": 0}, "'trigger' is 0"),
        ({"start": "ones"}, "'start' is 'ones'; give 'uniform' or 'zeros'"),
        ({"strength": 2.0}, "'strength' is 2.0"),
    ],
)
def test_a_bad_argument_is_named(numbers, said) -> None:
    with unchecked(), pytest.raises(UserError, match=said):
        Coordinator(**numbers)


@pytest.mark.parametrize(
    ("part", "door", "task", "said"),
    [
        (Coordinator(), image_door(9), images(8, 8), "put Resize before Coordinator"),
        (Coordinator(), image_door(8, upper=math.inf), images(8, 8), "needs finite bounds"),
        (Coordinator(), image_door(8), series(8), "task of kind 'image'"),
        (Coordinator(grid=9), image_door(8), images(8, 8), "'grid' is 9, more frequencies"),
        (Coordinator(waveform_door(8)), image_door(8), images(8, 8), "'encoder' takes 'waveform'"),
        (Coordinator(image_door(8, channels=4)), image_door(8), images(8, 8, 3), "source of 4"),
        (Coordinator(trigger=9), image_door(8), images(8, 8, 3),
         "'trigger' is 9, .* 48 features .* 4x4; give 16, 32 or so on"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(part, door, task, said) -> None:
    with pytest.raises(UserError, match=said) as caught:
        part.bind(door, task)
    assert "\n" not in str(caught.value)
