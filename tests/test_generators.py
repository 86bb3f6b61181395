"""Generators as sources: what goes in and comes out, what is refused, and those of the zoo."""

import json
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from tiny import seeded
from torch import nn

from reprogram.likeness import frechet
from reprogram.sources import load, zoo
from reprogram.sources.generator import DigitsGenerator, MLPGenerator, generator_source
from reprogram.tasks.mnist import read_idx
from reprogram.types import UserError

SCRIPTS = Path(__file__).resolve().parents[1] / "zoo"
NOISE, SHAPE = 6, (1, 28, 28)


def shown(judge, x):
    features = judge.features(x)
    assert features is not None
    return features


def noise(source, count=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *source.input.shape, generator=generator)


class Painter(nn.Module):
    """Noise (batch, 6) to colour images (batch, 3, 8, 8) in [-1, 1], through a batch-norm."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(NOISE, 4 * 16), nn.BatchNorm2d(4)
        self.up = nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1)

    def forward(self, x):
        return self.up(self.norm(self.first(x).reshape(-1, 4, 4, 4)).relu()).tanh()


MADE = {
    "images through a tanh": lambda: generator_source(
        seeded(Painter), noise=NOISE, image=(3, 8, 8)
    ),
    "flat": lambda: generator_source(
        seeded(lambda: MLPGenerator(noise=NOISE, hidden=9, pixels=24)), noise=NOISE, image=(2, 3, 4)
    ),
    "images through a sigmoid": lambda: generator_source(
        seeded(lambda: DigitsGenerator(noise=NOISE, width=4)),
        noise=NOISE, image=SHAPE, lower=0,
    ),
}  # fmt: skip
made = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


@made
def test_noise_becomes_images_between_black_and_white(make):
    source = make()
    assert source.input.kind == "noise"
    assert (source.input.mean, source.input.std) == (0, 1)
    assert source.input.lower == -source.input.upper == -torch.inf
    images = source(noise(source))
    assert source.output.kind == "image"
    assert images.shape == (4, *source.output.shape)
    assert 0 <= images.min() < images.max() <= 1
    assert not torch.equal(images[0], images[1])


@made
def test_source_is_frozen_and_lets_a_gradient_through(make):
    source = make()
    x = noise(source).requires_grad_()
    fingerprint = source.fingerprint()
    source.train()
    source(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in source.parameters())
    assert source.fingerprint() == fingerprint == make().fingerprint()
    torch.testing.assert_close(source(x)[:2], source(x[:2]))  # no statistics of the batch


@made
def test_control_is_as_bright_and_paints_otherwise(make):
    source = make()
    control, again = source.randomised(0), source.randomised(0)
    assert control.fingerprint() == again.fingerprint() != source.randomised(1).fingerprint()
    x = noise(source, 200)
    images, blind = source(x), control(x)
    assert blind.shape == images.shape
    assert blind.std() > 0.3 * images.std()
    assert (blind - images).abs().mean() > 0.1 * images.std()


def test_range_is_brought_to_zero_and_one():
    module = nn.Sequential(nn.Linear(2, 4), nn.Sigmoid())
    plain = generator_source(module, noise=2, image=(1, 2, 2), lower=0)
    wide = generator_source(module, noise=2, image=(1, 2, 2), lower=-3, upper=2)
    x = noise(plain)
    torch.testing.assert_close(plain(x), module(x).reshape(4, 1, 2, 2))
    torch.testing.assert_close(wide(x), (plain(x) + 3) / 5)
    assert wide.fingerprint() != plain.fingerprint()


def test_generator_in_double_precision_is_tried_in_it():
    module = nn.Sequential(nn.Linear(2, 4).double(), nn.Tanh())
    assert module in generator_source(module, noise=2, image=(1, 2, 2)).modules()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": 5}, "'noise' is 5, but the generator's first layer takes 6; give noise=6"),
        ({"noise": 0}, "'noise' is 0; a generator takes 1 number or more"),
        ({"image": (1, 8, 8)}, r"'image' is \(1, 8, 8\), 64 numbers.* makes \(1, 3, 8, 8\)"),
        ({"lower": 0}, "'lower' and 'upper' are 0 and 1, but .* pixels from -"),
        ({"lower": 1}, "'lower' is 1 and 'upper' 1"),
        ({"module": nn.ConvTranspose2d(NOISE, 3, 8)}, r"takes no noise of the shape \(batch, 6\)"),
        ({"module": nn.LSTM(NOISE, 192)}, "makes tuple of one sample"),
    ],
)
def test_generators_that_are_refused(change, message):
    given = {"module": seeded(Painter), "noise": NOISE, "image": (3, 8, 8)} | change
    with pytest.raises(UserError, match=message):
        generator_source(**given)


# Of the zoo


@pytest.fixture(params=["digits-gan", "mnist-mlp-gan"])
def source(request, data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    return load(f"zoo:{request.param}")


def sure(images):
    """The share of images that the judge reads with a probability above 0.9."""
    return (zoo.load("digits")(images).softmax(1).amax(1) > 0.9).float().mean().item()


def test_zoo_paints_every_digit_and_both_judges_read_them_alike(source):
    images = source(noise(source, 500))
    told = [zoo.load(name)(images).argmax(1) for name in ("digits", "mnist-lenet")]
    assert (told[0] == told[1]).float().mean() > 0.75
    assert told[0].bincount(minlength=10).min() > 0


def test_zoo_is_repeatable_and_leaves_the_random_state(source):
    state = torch.get_rng_state()
    assert load(source.uri).fingerprint() == source.fingerprint()
    assert torch.equal(state, torch.get_rng_state())


def test_generator_of_ours_is_as_good_as_its_card():
    source = load("zoo:digits-gan")
    told = json.loads((files("reprogram") / "zoo" / "digits-gan.json").read_text())["measured"]
    assert sure(source(noise(source, 1000))) == pytest.approx(told["sure"], abs=0.05)
    assert 0.02 < min(told["classes"]) < max(told["classes"]) < 0.25


def test_public_generator_paints_too_many_ones(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    source = load("zoo:mnist-mlp-gan")
    images = source(noise(source, 1000))
    assert sure(images) > 0.85
    shares = zoo.load("digits")(images).argmax(1).bincount(minlength=10) / 1000
    assert shares.argmax() == 1
    assert 0.28 < shares[1] < 0.4
    assert shares[2] < 0.05


@pytest.mark.parametrize(("name", "largest"), [("digits", 300_000), ("digits-gan", 2_000_000)])
def test_weights_are_small_and_the_card_tells_how_they_were_made(name, largest):
    folder = files("reprogram") / "zoo"
    assert len((folder / f"{name}.safetensors").read_bytes()) < largest
    card = (folder / f"{name}.md").read_text()
    for word in ("Architecture", "Data", "Split", "Training", "Accuracy", "Licence", "seed"):
        assert word in card
    assert json.loads((folder / f"{name}.json").read_text())["seed"] == 0


@pytest.fixture
def digits(data_root):
    """2,000 test digits of MNIST and their classes."""
    images, labels = (
        read_idx(data_root / "mnist" / f"t10k-{part}-ubyte.gz")[:2000].copy()
        for part in ("images-idx3", "labels-idx1")
    )
    return torch.from_numpy(images)[:, None].float() / 255, torch.from_numpy(labels).long()


def test_judge_of_digits_is_as_good_as_its_card(digits):
    x, labels = digits
    judge = zoo.load("digits")
    assert (judge(x).argmax(1) == labels).float().mean() >= 0.985
    told = json.loads((files("reprogram") / "zoo" / "digits.json").read_text())["accuracy"]
    assert told["test"] >= 0.99
    *_, last = judge.modules()
    torch.testing.assert_close(last(shown(judge, x[:9])), judge(x[:9]))


def test_digits_of_the_zoo_are_like_real_ones(digits, source):
    judge = zoo.load("digits")
    real, painted, blind = (
        shown(judge, x)
        for x in (
            digits[0], source(noise(source, 1000)), source.randomised(0)(noise(source, 1000))
        )
    )  # fmt: skip
    assert frechet(painted, real) < frechet(blind, real) / 3


# The script


def test_interrupted_training_goes_on_as_if_whole(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from train_digits_gan import Adversaries, train

    images = torch.rand(130, 1, 28, 28, generator=torch.Generator().manual_seed(0))

    def adversaries():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Adversaries(DigitsGenerator(width=4), steps=4)

    whole, broken, resumed = adversaries(), adversaries(), adversaries()
    train(whole, images, epochs=2, folder=tmp_path / "whole")
    train(broken, images, epochs=1, folder=tmp_path / "broken")
    train(resumed, images, epochs=2, folder=tmp_path / "broken")
    pairs = zip(whole.averaged.state_dict().values(), resumed.averaged.state_dict().values(),
                strict=True)  # fmt: skip
    assert all(torch.equal(a, b) for a, b in pairs)
    assert resumed.epoch == 2
    assert resumed.seconds > 0
