"""The sources that ship with the library, the public one, and the loop that trains them."""

import json
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from reprogram.sources import zoo
from reprogram.sources.attention_rnn import AttentionRNN
from reprogram.sources.residual import ResidualNetwork
from reprogram.sources.weights import convert_attention_rnn, fill, read_keras
from reprogram.types import UserError

SCRIPTS = Path(__file__).resolve().parents[1] / "zoo"
EMBEDDED = ("images", "speech-commands")
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")


@pytest.fixture
def scripts(monkeypatch):
    """Makes the training scripts importable."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


@pytest.fixture
def public(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    return zoo.load("speech-commands-35")


def sample(source, count=4):
    """Inputs for a source: uniform within its bounds, or normal."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, *source.input.shape)
    if np.isfinite(source.input.lower):
        span = source.input.upper - source.input.lower
        return torch.rand(shape, generator=generator) * span + source.input.lower
    return torch.randn(shape, generator=generator)


# What every source of the zoo promises


@pytest.mark.parametrize("name", EMBEDDED)
def test_loads_frozen_under_its_own_name(name):
    source = zoo.load(name)
    assert source.uri == f"zoo:{name}"
    assert not any(p.requires_grad for p in source.parameters())
    assert len(source.output.names) == source.output.shape[0]
    logits = source(sample(source))
    assert logits.shape == (4, *source.output.shape)
    assert torch.isfinite(logits).all()
    assert (logits.exp().sum(1) - 1).abs().min() > 1e-3  # logits, not log-probabilities


@pytest.mark.parametrize("name", EMBEDDED)
def test_loading_is_repeatable_and_leaves_the_random_state(name):
    state = torch.get_rng_state()
    fingerprint = zoo.load(name).fingerprint()
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(1)
    assert zoo.load(name).fingerprint() == fingerprint


@pytest.mark.parametrize(
    ("name", "door"), [("speech-commands", "log-mel"), ("images", "normalised")]
)
def test_doors_share_weights(name, door):
    source = zoo.load(name)
    behind = source.door(door)
    assert behind.uri == f"zoo:{name}#{door}"
    assert behind.input.normalised
    x = sample(source)
    front, network = source.chain
    inner = front(x)
    assert inner.shape[1:] == behind.input.shape
    torch.testing.assert_close(behind(inner), source(x))
    assert behind.chain[0] is network


@pytest.mark.parametrize("name", EMBEDDED)
def test_gradient_reaches_the_input_at_every_door(name):
    source = zoo.load(name)
    for door in source.doors:
        opened = source.door(door)
        x = sample(opened).requires_grad_()
        opened(x)[:, 0].sum().backward()
        assert x.grad is not None
        assert x.grad.abs().sum() > 0
        assert all(p.grad is None for p in opened.parameters())


@pytest.mark.parametrize(("name", "last"), [("speech-commands", "out"), ("images", "linear")])
def test_features_enter_the_last_layer(name, last):
    source = zoo.load(name)
    x = sample(source)
    features = source.features(x)
    torch.testing.assert_close(getattr(source.chain[-1], last)(features), source(x))


@pytest.mark.parametrize("name", EMBEDDED)
def test_card_and_settings_stand_beside_the_weights(name):
    folder = files("reprogram") / "zoo"
    card = (folder / f"{name}.md").read_text()
    for word in ("Architecture", "Data", "Split", "Training", "Accuracy", "Licence", "seed"):
        assert word in card
    settings = json.loads((folder / f"{name}.json").read_text())
    assert settings["accuracy"]["validation"] > 0.5


def test_normalised_door_of_images_has_bounds_within_the_images():
    source = zoo.load("images")
    spec = source.door("normalised").input
    normalise = source.chain[0]
    for bound in (spec.lower, spec.upper):
        pixels = bound * normalise.std + normalise.mean
        assert pixels.min() >= -1e-6
        assert pixels.max() <= 1 + 1e-6


def test_unknown_name_tells_the_nearest():
    with pytest.raises(UserError, match="did you mean 'speech-commands'"):
        zoo.load("speech-command")
    assert all(isinstance(line, str) and line for _, line in zoo.SOURCES.values())


# Architectures


def test_attention_rnn_has_the_published_number_of_weights():
    network = AttentionRNN(classes=36)
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert trained == 201_225
    assert trained + sum(2 * m.num_features for m in norms) == 201_247


def test_idle_bias_of_the_lstm_is_zero_and_stays_so_in_the_control():
    source = zoo.load("speech-commands")
    for version in (source, source.randomised(0)):
        idle = [p for n, p in version.named_parameters() if "bias_hh" in n]
        assert len(idle) == 4
        assert not any(p.any() for p in idle)


@pytest.mark.parametrize("depth", [2, 19, 21])
def test_depth_that_no_residual_network_has(depth):
    with pytest.raises(UserError, match=f"'depth' is {depth}"):
        ResidualNetwork(depth=depth)


# The public network


def commands(data_root, count):
    """(clips, 16000) and the command of each, from the lossless set."""
    for label in COMMANDS:
        with np.load(data_root / "speech_commands_v2_test" / f"{label}.npz") as data:
            yield label, torch.from_numpy(data["audio"][:count].astype("float32") / 32768)


def accuracy(source, data_root, count=50):
    right = total = 0
    for label, clips in commands(data_root, count):
        right += int((source(clips).argmax(1) == source.output.names.index(label)).sum())
        total += len(clips)
    return right / total


def test_conversion_reaches_96_percent(public, data_root):
    """480 of 500 clips, arg-max over all 36 outputs, standardised clip by clip."""
    assert accuracy(public, data_root) >= 0.959


def test_public_names_of_words_that_are_no_commands(public, data_root):
    path = data_root / "speech_commands_v2_test" / "_unknown_.npz"
    with np.load(path, allow_pickle=False) as data:
        clips = torch.from_numpy(data["audio"].astype("float32") / 32768)
        words = [str(name).split("_")[0] for name in data["name"]]
    told = [public.output.names[i] for i in public(clips).argmax(1)]
    assert np.mean([a == b for a, b in zip(told, words, strict=True)]) >= 0.9


def test_public_file_that_is_nowhere(tmp_path, monkeypatch):
    import pooch

    def offline(*arguments, **options):
        raise ConnectionError("no network")

    monkeypatch.setenv("REPROGRAM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(UserError) as caught:
        zoo.load("speech-commands-35")
    for word in ("model-attRNN.h5", "raw.githubusercontent.com", "$REPROGRAM_DATA/speech"):
        assert word in str(caught.value)


def test_file_that_is_not_keras(tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "model.h5"
    path.write_bytes(b"not an HDF5 file")
    with pytest.raises(UserError, match="not a Keras HDF5 file"):
        read_keras(path)
    with pytest.raises(UserError, match="not in the Keras file"):
        convert_attention_rnn({})


def test_without_h5py_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match=r"reprogram\[audio\]"):
        read_keras(tmp_path / "model.h5")


def test_weights_that_do_not_fit():
    state = AttentionRNN(classes=3).state_dict()
    with pytest.raises(UserError, match="do not fit"):
        fill(AttentionRNN(classes=4), state)
    del state["out.bias"]
    with pytest.raises(UserError, match=r"missing \['out.bias'\]"):
        fill(AttentionRNN(classes=3), state)


# What they know


def test_public_control_knows_nothing(public, data_root):
    assert accuracy(public.randomised(0), data_root, 10) < 0.25


@pytest.mark.parametrize(
    ("name", "folder", "least"),
    [("speech-commands", "speech_commands_v2_test_full", 0.9), ("images", "cifar10_jpg", 0.75)],
)
def test_accuracy_on_the_card_holds_and_the_control_has_none(
    name, folder, least, data_root, scripts
):
    if name == "speech-commands":
        pytest.importorskip("soundfile")
    script = __import__(f"train_{name.replace('-', '_')}")
    x, labels = script.load(data_root / folder)["test"]
    x, labels = x[::3], labels[::3]
    source = zoo.load(name)
    told = json.loads((files("reprogram") / "zoo" / f"{name}.json").read_text())["accuracy"]["test"]
    right = (torch.cat([source(b) for b in x.split(128)]).argmax(1) == labels).float().mean()
    assert right.item() == pytest.approx(told, abs=0.04)  # a third of the split
    assert told >= least
    control = source.randomised(0, batch=x[:64])
    blind = (control(x[::4]).argmax(1) == labels[::4]).float().mean()
    assert blind < 0.4


# The scripts


def test_splits_are_disjoint_in_speakers(scripts):
    from train_speech_commands import CLASSES, assign, speaker

    names = {c: [f"{i:03d}_nohash_{k}.wav" for i in range(40) for k in range(3)] for c in CLASSES}
    names["_unknown_"] = [f"bird_{i:03d}_nohash_0.wav.wav" for i in range(40)]
    names["_silence_"] = [f"{i}.wav" for i in range(100)]
    splits = assign(names)
    found: dict[str, set[str]] = {}
    for (label, name), split in splits.items():
        if label != "_silence_":
            found.setdefault(speaker(label, name), set()).add(split)
    assert len(found) == 40
    assert all(len(where) == 1 for where in found.values())
    assert sum(where == {"test"} for where in found.values()) == 6  # 15 %
    assert [splits["_silence_", f"{i}.wav"] for i in (0, 14, 15, 24, 25, 99)] == [
        "test", "test", "validation", "validation", "train", "train",
    ]  # fmt: skip


def test_augmentation_repeats_and_keeps_its_input(scripts):
    from train_images import Augment as Images
    from train_speech_commands import Augment as Speech

    generator = torch.Generator().manual_seed(0)
    sound = torch.rand(64, 16000, generator=generator) - 0.5
    images = torch.rand(128, 3, 32, 32, generator=generator)
    for augment, data, classes in ((Speech, sound, 12), (Images, images, 10)):
        before = data.clone()
        batches = augment(data, torch.arange(len(data)) % classes)
        (x, y), (again, _) = next(iter(batches(3))), next(iter(batches(3)))
        assert torch.equal(x, again)
        assert not torch.equal(x, next(iter(batches(4)))[0])
        assert torch.equal(data, before)
        assert torch.isfinite(x).all()
        torch.testing.assert_close(y.sum(1), torch.ones(len(y)))


def test_interrupted_training_ends_at_the_same_weights(scripts, tmp_path):
    from loop import train

    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    labels = (x[:, 0] > 0).long()
    soft = nn.functional.one_hot(labels, 2).float()

    def batches(epoch):
        if epoch == 2 and interrupt:
            raise KeyboardInterrupt
        order = torch.randperm(32, generator=torch.Generator().manual_seed(epoch))
        return [(x[rows], soft[rows]) for rows in order.split(8)]

    def run(folder):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        options = {"epochs": 4, "steps": 4, "rate": 0.1, "decay": 0.01, "folder": folder}
        options["average"] = 0.5
        best = train(network, batches, (x, labels), **options)
        return best, network.state_dict()

    interrupt = False
    whole, weights = run(tmp_path / "whole")
    interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken")
    interrupt = False
    resumed, same = run(tmp_path / "broken")
    assert all(torch.equal(weights[key], same[key]) for key in weights)
    assert (whole["epoch"], whole["accuracy"]) == (resumed["epoch"], resumed["accuracy"])
    assert whole["accuracy"] > 0.9
