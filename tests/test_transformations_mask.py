"""A pattern under a mask of each sample's own."""

import pytest
import torch
from doors import image_door, images
from tiny import image_source, image_task
from torch import Tensor
from torch.nn import functional as F

from reprogram.criteria import CrossEntropy
from reprogram.mappings import Fixed
from reprogram.model import BatchObjective, Reprogrammed
from reprogram.optim import flatten
from reprogram.transformations import Compose, Resize, SampleMask


def _mask(height: int, width: int, **numbers) -> SampleMask:
    part = SampleMask(**numbers)
    part.bind(image_door(height, width=width), images(height, width, 3))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        part.pattern += torch.randn(part.pattern.shape, generator=generator)
        for name, buffer in part.named_buffers():
            if "running" in name:
                buffer += 0.3 * torch.rand(buffer.shape, generator=generator)
    return part


@pytest.mark.parametrize(
    ("layers", "channels", "count"), [(5, 3, 26_499), (6, 3, 102_339), (5, 1, 25_201)]
)
def test_parameters_of_the_mask_network(layers: int, channels: int, count: int) -> None:
    part = SampleMask(layers=layers)
    part.bind(image_door(32, channels=channels), images(32, 32))
    assert sum(p.numel() for p in part.network.parameters()) == count
    assert part.pattern.shape == (channels, 32, 32)


def _transcribed(part: SampleMask, x: Tensor, training: bool) -> Tensor:
    """r(x) + delta * f_mask(r(x) | phi), layer by layer: relu before each pool, as published."""
    tensors = {n: t.clone() for n, t in part.network.state_dict().items()}
    names = list(dict.fromkeys(n.rsplit(".", 1)[0] for n in tensors))  # conv, norm, ..., conv
    y, pooled = x, 1
    for i, name in enumerate(names):
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        if i % 2 == 0:
            y = F.conv2d(y, weight, bias, padding=1)
            continue
        running = tensors[f"{name}.running_mean"], tensors[f"{name}.running_var"]
        y = F.batch_norm(y, *running, weight, bias, training=training).relu()
        if pooled < part.patch:
            y = F.max_pool2d(F.pad(y, (0, y.shape[3] % 2, 0, y.shape[2] % 2)), 2)
            pooled *= 2
    out = x.clone()
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            value = y[:, :, i // part.patch, j // part.patch]
            out[:, :, i, j] += part.pattern.detach()[:, i, j] * value
    return out


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 22), (16, 19)])
@pytest.mark.parametrize(("layers", "patch"), [(5, 1), (5, 2), (5, 8), (5, 16), (6, 4)])
@pytest.mark.parametrize("training", [False, True])
def test_it_is_the_papers_formula(height, width, layers, patch, training) -> None:
    part = _mask(height, width, layers=layers, patch=patch).train(training)
    x = torch.rand(3, 3, height, width)
    slow = _transcribed(part, x, training)
    torch.testing.assert_close(part(part.prepare(x)).detach(), slow, atol=1e-5, rtol=1e-4)


def test_a_patch_has_one_mask_and_each_sample_its_own() -> None:
    part = _mask(20, 17, patch=8).train()
    with torch.no_grad():
        part.pattern.fill_(1.0)
    x = torch.rand(4, 3, 20, 17)
    mask = (part(part.prepare(x)) - x).detach()
    for top in (0, 8, 16):
        for left in (0, 8, 16):
            patch = mask[:, :, top : top + 8, left : left + 8].flatten(2)
            torch.testing.assert_close(patch, patch[:, :, :1].expand_as(patch))
    assert mask.std(0).max() > 1e-3
    assert mask.flatten(2).std(2).max() > 1e-3


def test_only_the_pattern_has_a_gradient_at_the_first_step() -> None:
    part = SampleMask()
    part.bind(image_door(16), images(16, 16))
    x = torch.rand(4, 1, 16, 16)

    def moved() -> dict[str, bool]:
        part.zero_grad()
        part(part.prepare(x)).square().sum().backward()
        return {n: bool(p.grad.any()) for n, p in part.named_parameters() if p.grad is not None}

    first = moved()
    assert [name for name, moves in first.items() if moves] == ["pattern"]
    with torch.no_grad():
        part.pattern += 0.1
    assert len(moved()) == len(list(part.parameters()))
    # Batch-norm takes the bias of a convolution away: its gradient is rounding alone.
    weights = {n: m for n, m in moved().items() if n.endswith("weight")}
    assert all(weights.values())


def test_a_limited_pattern_stays_below_half_the_range() -> None:
    part = SampleMask(squash="tanh")
    part.bind(image_door(16, -1.0, 3.0), images(16, 16))
    torch.nn.init.constant_(part.pattern, 1e4)
    x = torch.rand(2, 1, 16, 16)
    y = part.eval()(part.prepare(x))
    assert ((y - (4 * x - 1)).abs() <= 2 + 1e-6).all()
    assert y.min() >= -1
    assert y.max() <= 3


def test_running_statistics_move_once_a_step() -> None:
    source, task = image_source(), image_task()
    part, mapping = Compose([Resize(20), SampleMask()]), Fixed()
    for each in (part, mapping):
        each.bind(source, task.spec)
    model = Reprogrammed(source, part, mapping).train()
    x, y, w = task.train.batch(torch.arange(8))
    objective = BatchObjective(model, CrossEntropy(), (part.prepare(x), y, w), seed=0, step=0)
    (counter,) = {n for n, _ in part.named_buffers() if n.endswith("network.1.num_batches_tracked")}
    objective()
    assert part.get_buffer(counter) == 1
    row = flatten(list(part.parameters()))
    objective(torch.stack([row, row + 0.1, row - 0.1]))
    assert part.get_buffer(counter) == 2
