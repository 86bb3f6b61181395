"""Patches: tokens as parts of an image; and source classes dealt by what an empty image says."""

import json
from typing import Any

import pytest
import torch
from doors import image_door, open_door
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny import CLASSES, SIDE, image_source
from torch import Tensor
from typechecker import unchecked

from reprogram import parts
from reprogram.canvas import ground
from reprogram.mappings import Ranked
from reprogram.sources import Source
from reprogram.transformations import Compose, Patches
from reprogram.types import InputSpec, OutputSpec, TaskSpec, UserError

TOKENS = 5


def tokens_task(longest: int = 7, targets: int = 3) -> TaskSpec:
    names = tuple(map(str, range(targets)))
    return TaskSpec("toy", InputSpec("tokens", (longest,), 0, TOKENS - 1), names)


def bound(source: Source | None = None, longest: int = 7, **arguments: Any) -> Patches:
    part = Patches(**arguments)
    part.bind(source or image_door(20), tokens_task(longest))
    return part


def ids(rows: int = 4, longest: int = 7) -> Tensor:
    return torch.randint(TOKENS, (rows, longest), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-2.0, 4.0)])
@pytest.mark.parametrize(("height", "width", "size"), [(20, 20, 5), (20, 20, 6), (9, 14, 4)])
@pytest.mark.parametrize(("strength", "base"), [(1.0, "grey"), (0.2, "uniform"), (0.7, "uniform")])
@pytest.mark.parametrize("longest", [1, 7, 40])
@pytest.mark.parametrize("places", [False, True])
def test_each_place_holds_its_tokens_patch(
    bounds, height: int, width: int, size: int, strength: float, base: str, longest: int,
    places: bool,
) -> None:  # fmt: skip
    door = image_door(height, *bounds, width=width)
    part = bound(door, longest, size=size, strength=strength, base=base, places=places, start=2.0)
    patterns = torch.zeros(part.room, 3 * size**2)
    if places:
        patterns = torch.randn(patterns.shape, generator=torch.Generator().manual_seed(1))
        part.get_parameter("patterns").data = patterns
    x = ids(3, longest)
    image = part(part.prepare(x))
    half = (bounds[1] - bounds[0]) / 2
    wanted = ground(door.input, base, 0).repeat(3, 1, 1, 1)
    table = part.get_parameter("table").detach()
    across = width // size
    for row in range(3):
        for place in range(across * (height // size)):
            token = int(x[row, place]) if place < longest else 0
            patch = strength * half * (table[token] + patterns[place]).tanh()
            top, left = size * (place // across), size * (place % across)
            wanted[row, :, top : top + size, left : left + size] += patch.reshape(3, size, size)
    torch.testing.assert_close(image.detach(), wanted.clamp(*bounds))


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
def test_no_pixel_moves_further_than_the_strength(scale: float) -> None:
    part = bound(image_door(20, -1, 3), strength=0.1, base="uniform")
    with torch.no_grad():
        part.get_parameter("table").mul_(scale)
    image = part(part.prepare(ids()))
    assert (image - part.base_image).abs().max() <= 0.1 * 2 + 1e-6
    assert image.min() >= -1 and image.max() <= 3


def test_what_finds_no_place_is_cut_and_counted() -> None:
    part = bound(longest=40, size=5)
    x = torch.zeros(3, 40)
    x[:2, :16] = 2
    x[1, 16] = 3
    prepared = part.prepare(x)
    assert prepared.shape == (3, 16)
    assert part.tally(x) == {"cut": 1}
    image = part(prepared)
    assert torch.equal(image[0], image[1])


@pytest.mark.parametrize("longest", [1, 5, 20, 400, 900])
def test_the_grid_holds_the_longest_text_where_it_can(longest: int) -> None:
    part = bound(longest=longest)
    assert part.room >= min(longest, 400)
    larger = part.side + 1
    assert larger > 20 or (20 // larger) ** 2 < longest


def test_gradient_reaches_the_tokens_that_stand_there_and_no_source() -> None:
    source = image_source()
    part = bound(source, size=5, places=True)
    source(part(part.prepare(torch.tensor([[1, 3, 1]])))).square().sum().backward()
    grad = part.get_parameter("table").grad
    assert grad is not None and grad.any(1).tolist() == [True, True, False, True, False]
    grad = part.get_parameter("patterns").grad
    assert grad is not None and grad.any(1).all()
    assert all(p.grad is None for p in source.parameters())


def test_the_picture_shows_the_tokens() -> None:
    part = bound(size=5)
    assert torch.equal(part.picture(), part(part.prepare(torch.arange(TOKENS)[None]))[0])


@pytest.mark.parametrize("base", ["grey", "uniform", "picture"])
def test_described_saved_and_loaded_gives_the_same(base: str, tmp_path) -> None:
    file = tmp_path / "base.png"
    pixels = torch.randint(256, (6, 9, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.byte().numpy()).save(file)
    part = bound(base=str(file) if base == "picture" else base, strength=0.3, seed=2)
    save_file(part.state_dict(), tmp_path / "part.safetensors")
    file.unlink()
    described = json.loads(json.dumps(parts.describe(Compose([part]))))
    again = parts.build("transformations", described)
    again.bind(image_door(20), tokens_task())
    again.parts[0].load_state_dict(load_file(tmp_path / "part.safetensors"))
    assert torch.equal(again(again.prepare(ids())), part(part.prepare(ids())))
    assert len(repr(part)) < 100


def test_a_picture_lies_under_the_patches(tmp_path) -> None:
    file = tmp_path / "base.png"
    pixels = torch.randint(256, (20, 20, 3), generator=torch.Generator().manual_seed(0))
    Image.fromarray(pixels.byte().numpy()).save(file)
    part = bound(image_door(20, -1, 1), base=str(file), strength=0.5)
    torch.testing.assert_close(part.base_image, pixels.permute(2, 0, 1) / 127.5 - 1)
    grey = bound(image_door(20, -1, 1, channels=1), base=str(file))
    assert grey.base_image.shape == (1, 20, 20)


# --- the deal ------------------------------------------------------------------------------------


def test_classes_are_dealt_in_the_order_of_an_empty_image() -> None:
    source = image_source()
    for size, base, seed in ((1, "uniform", 0), (2, "uniform", 4), (9, "grey", 0)):
        mapping = Ranked(size=size, base=base, seed=seed)
        mapping.bind(source, tokens_task())
        scores = source(ground(source.input, base, seed)[None])[0].tolist()
        order = sorted(range(CLASSES), key=scores.__getitem__)
        each = min(size, CLASSES // 3)
        wanted = [[order[c + 3 * j] for j in range(each)] for c in range(3)]
        assert mapping.index.tolist() == wanted


@pytest.mark.parametrize("read", ["max", "mean"])
@pytest.mark.parametrize("target", ["classes", "labels"])
def test_a_group_is_read_by_its_largest_score_or_its_mean(read, target) -> None:
    mapping = Ranked(size=2, read=read)
    task = TaskSpec("toy", InputSpec("tokens", (3,), 0, 4), ("x",) * (3 if target == "classes"
                    else 1), target=target)  # fmt: skip
    mapping.bind(image_source(), task)
    z = torch.randn(5, CLASSES, generator=torch.Generator().manual_seed(1))
    groups = [[row[s] for s in group] for row in z.tolist() for group in mapping.index.tolist()]
    each = torch.tensor([max(g) if read == "max" else sum(g) / 2 for g in groups]).reshape(5, -1)
    wanted = each if target == "classes" else each[:, 1:] - each[:, :1]
    torch.testing.assert_close(mapping(z), wanted)


def test_the_deal_is_saved_and_described(tmp_path) -> None:
    mapping, source = Ranked(size=2, read="mean", seed=3), image_source()
    mapping.bind(source, tokens_task())
    save_file(mapping.state_dict(), tmp_path / "mapping.safetensors")
    again = parts.build("mappings", json.loads(json.dumps(parts.describe(mapping))))
    again.bind(image_source(seed=9), tokens_task())  # another source deals otherwise
    assert not torch.equal(again.index, mapping.index)
    again.load_state_dict(load_file(tmp_path / "mapping.safetensors"))
    z = torch.randn(4, CLASSES)
    assert torch.equal(again(z), mapping(z))
    assert mapping.table().sum(0).tolist() == [1.0] * 3


def ranked(source: Source, targets: int = 3, **arguments: Any) -> None:
    Ranked(**arguments).bind(source, tokens_task(targets=targets))


def _series_door() -> Any:
    door = image_door(SIDE)
    door.input = InputSpec("series", (1, 9))
    return door


def _embedding_door() -> Any:
    door = image_door(SIDE)
    door.output = OutputSpec("embedding", (9,))
    return door


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Patches(size=0), "'size' is 0"),
        (lambda: Patches(strength=1.2), "'strength' is 1.2"),
        (lambda: Patches(start=0.0), "'start' is 0.0"),
        (lambda: Patches(base="nowhere.png"), "'base' is 'nowhere.png', no image"),
        (lambda: bound(size=21), "'size' is 21; the source's image is 20x20"),
        (lambda: bound(open_door(20)), "needs finite bounds"),
        (lambda: bound(_series_door()), "writes 'image'; source given takes 'series'"),
        (lambda: Ranked(read="median"), "'read' is 'median'"),
        (lambda: Ranked(size=0), "'size' is 0"),
        (lambda: ranked(image_source(), 8), "8 target classes.* 7 source classes"),
        (lambda: ranked(_embedding_door()), "reads class scores"),
        (lambda: ranked(_series_door(), 2), "takes 'series'"),
    ],
)
def test_a_bad_argument_is_named(make, said: str) -> None:
    with unchecked(), pytest.raises(UserError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_source_that_can_only_be_called_is_not_asked_behind_its_account() -> None:
    asked = image_source()
    asked.gradient = False
    with pytest.raises(UserError, match="paid by the query; use Frequency"):
        Ranked().bind(asked, tokens_task(targets=2))
