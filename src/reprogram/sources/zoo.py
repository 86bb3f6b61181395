"""Source models by name: ``zoo:NAME``. Some ship with the library, others are public downloads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from reprogram.files import find_file
from reprogram.sources.attention_rnn import AttentionRNN, attention_rnn_source
from reprogram.sources.automata.zoo import AUTOMATA
from reprogram.sources.base import Source
from reprogram.sources.generator import DigitsGenerator, MLPGenerator, generator_source
from reprogram.sources.hf.wheel import minilm
from reprogram.sources.images import image_source
from reprogram.sources.lenet import LeNet
from reprogram.sources.masked_lm import MaskedNetwork, masked_source
from reprogram.sources.mobilenet import mobilenet_source
from reprogram.sources.options import counts
from reprogram.sources.residual import ResidualNetwork
from reprogram.sources.sentence import CNNEncoder, LSTMEncoder, SentenceNetwork, sentence_source
from reprogram.sources.tflite import read_tflite
from reprogram.sources.weights import convert_attention_rnn, fill, read_keras, read_torch, shipped
from reprogram.sources.words import WordPieces
from reprogram.types import nearest


class Published(NamedTuple):
    """A public file, the same wherever it is found.

    Arguments:
        repository: Its owner and name on GitHub, and the commit.
        path: Its place there.
        folder: Where it lies below the folder of raw files.
        sha256: Its checksum.
    """

    repository: str
    path: str
    folder: str
    sha256: str

    def find(self) -> Path:
        """The local path, after a download at need."""
        name = self.path.rpartition("/")[2]
        url = f"https://raw.githubusercontent.com/{self.repository}/{self.path}"
        return find_file(f"{self.folder}/{name}", url=url, sha256=self.sha256)


PUBLIC_RNN = Published(
    "douglas125/SpeechCmdRecognition/e965a72a8d1dedf490d4eba1996b2f3bb74eacdf",
    "model-attRNN.h5",
    "speech",
    "c73134a09bbc72d169a7d8e875297e72142c3d11f2dc0d95570303c67bdca4d0",
)
PUBLIC_RNN_CLASSES = (
    "unknown", "nine", "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go",
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "backward", "bed",
    "bird", "cat", "dog", "follow", "forward", "happy", "house", "learn", "marvin", "sheila",
    "tree", "visual", "wow",
)  # fmt: skip

_coral = partial(Published, "google-coral/test_data/104342d2d3480b3e66203073dac24f4e2dbb4c41")
IMAGENET_NAMES = _coral(
    "imagenet_labels.txt",
    "weights_imagenet",
    "b8aaeb5630c62626a7d124a05c0e14230a7ffdd2136a31d0190a4fb71c1d82f1",
)
MOBILENETS = {
    "v1-0.25-128": _coral(
        "mobilenet_v1_0.25_128_quant.tflite",
        "weights_imagenet",
        "cb273c23ee76374b05b9583177e28aa19744858a7679c56a250e83d0333da785",
    ),
    "v1-0.5-160": _coral(
        "mobilenet_v1_0.5_160_quant.tflite",
        "weights_imagenet",
        "3cc6d2ca460abd2e0f699a6d0d2550c6b61c6e3b0e27a3616e384ea74cb86f43",
    ),
    "v1-0.75-192": _coral(
        "mobilenet_v1_0.75_192_quant.tflite",
        "weights_imagenet",
        "41daeb22fdcf947e0e5ec32373aa9df7c31f3ef45dbd0ef7b5940fbce3c20f6a",
    ),
    "v2-1.0-224": _coral(
        "mobilenet_v2_1.0_224_quant.tflite",
        "weights_imagenet",
        "7aad0c74c5e3c06e5eb3c827e13304fdd68a83da6087d92ee169c24ff9fd4776",
    ),
}
"""By version, width and side of the images: quantised by Google, Apache-2.0."""

_akamaster = partial(
    Published, "akamaster/pytorch_resnet_cifar10/d5489e8995e81e91ce6b1d69dcc98ad579b0b153"
)
RESNETS = {
    20: _akamaster(
        "pretrained_models/resnet20-12fca82f.th",
        "weights_cifar10",
        "12fca82f0bebc4135bf1f32f6e3710e61d5108578464b84fd6d7f5c1b04036c8",
    ),
    32: _akamaster(
        "pretrained_models/resnet32-d509ac18.th",
        "weights_cifar10",
        "d509ac1820d7f25398913559d7e81a13229b1e7adc5648e3bfa5e22dc137f850",
    ),
    56: _akamaster(
        "pretrained_models/resnet56-4bfd9763.th",
        "weights_cifar10",
        "4bfd97631478d6b638d2764fd2baff3edb1d7d82252d54439343b6596b9b5367",
    ),
}
"""By depth, BSD-2-Clause."""
CIFAR10_NAMES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

PUBLIC_LENET = Published(
    "icaros-usc/pyribs/cac4d9d541f84f3004d7222c79d7f3646b3fa901",
    "tutorials/mnist/mnist_classifier.pth",
    "weights_mnist",
    "8f6d655a87edec3d48defbd24515cc99825e07eccd07a2bea3bdec8655e89a29",
)
"""Of the tutorials of pyribs, MIT."""
PUBLIC_MLP_GAN = Published(
    "csinva/gan-vae-pretrained-pytorch/9b6401e122fa186a3a57f97c5df57e3603121fba",
    "mnist_gan_mlp/weights/G--300.ckpt",
    "weights_mnist",
    "3163c6503c144d35fe44bb0247bbc61cd8e49c50ea3d84c1b7c080dc18fbf84c",
)
"""Without a stated licence: downloaded, never shipped."""


def load(name: str) -> Source:
    """The source ``zoo:NAME``, frozen.

    Arguments:
        name: One of :data:`SOURCES`, then its options behind ``?`` if it has any: ``steps`` of an
            automaton.

    Raises:
        UserError: if the name is unknown, or a download is needed and impossible.

    Example:
        >>> source = load("speech-commands")
        >>> source.input.shape, source.door("log-mel").input.shape
        ((16000,), (125, 80))
    """
    base, _, query = name.partition("?")
    if base not in SOURCES:
        raise nearest("zoo source", base, SOURCES)
    loader, _ = SOURCES[base]
    options = counts(f"zoo:{base}", query, loader)
    with torch.random.fork_rng(devices=[]):  # initial values drawn and overwritten: leave no trace
        return loader(**options)


def _speech_commands() -> Source:
    settings, state = shipped("speech-commands")
    names = settings["classes"]
    network = fill(AttentionRNN(classes=len(names)), state)
    return attention_rnn_source(network, names, uri="zoo:speech-commands")


def _public_speech_commands() -> Source:
    network = convert_attention_rnn(read_keras(PUBLIC_RNN.find()))
    return attention_rnn_source(network, PUBLIC_RNN_CLASSES, uri="zoo:speech-commands-35")


def _images() -> Source:
    settings, state = shipped("images")
    names = settings["classes"]
    network = fill(ResidualNetwork(depth=settings["depth"], classes=len(names)), state)
    return image_source(
        network, names, shape=(3, 32, 32), mean=settings["mean"], std=settings["std"],
        uri="zoo:images",
    )  # fmt: skip


def _sentences(name: str, kind: type[LSTMEncoder | CNNEncoder]) -> Source:
    settings, state = shipped(name)
    names, width = settings["classes"], settings["width"]
    tokenizer = WordPieces(settings["tokens"])
    network = SentenceNetwork(
        kind(width=width, **settings["encoder"]),
        vocabulary=tokenizer.size, width=width, classes=len(names),
    )  # fmt: skip
    return sentence_source(
        fill(network, state), tokenizer, names, length=settings["length"], uri=f"zoo:{name}"
    )


def _masked() -> Source:
    settings, state = shipped("text-mlm")
    tokenizer = WordPieces(settings["tokens"])
    shape = {key: settings[key] for key in ("width", "length", "layers", "heads")}
    network = fill(MaskedNetwork(vocabulary=tokenizer.size, **shape), state)
    return masked_source(network, tokenizer, uri="zoo:text-mlm")


def _mobilenet(version: str) -> Source:
    names = IMAGENET_NAMES.find().read_text(encoding="utf-8").splitlines()
    graph = read_tflite(MOBILENETS[version].find().read_bytes())
    return mobilenet_source(graph, names, uri=f"zoo:imagenet-mobilenet-{version}")


def _resnet(depth: int) -> Source:
    network = fill(ResidualNetwork(depth=depth), read_torch(RESNETS[depth].find()))
    return image_source(
        network, CIFAR10_NAMES, shape=(3, 32, 32), mean=IMAGENET_MEAN, std=IMAGENET_STD,
        uri=f"zoo:cifar10-resnet{depth}",
    )  # fmt: skip


def _lenet() -> Source:
    network = fill(LeNet(), read_torch(PUBLIC_LENET.find()))
    return image_source(
        network, tuple("0123456789"), shape=(1, 28, 28), mean=(0.1307,), std=(0.3081,),
        uri="zoo:mnist-lenet",
    )  # fmt: skip


def _digits() -> Source:
    settings, state = shipped("digits")
    names = settings["classes"]
    return image_source(
        fill(LeNet(classes=len(names)), state), names, shape=(1, 28, 28), mean=settings["mean"],
        std=settings["std"], uri="zoo:digits",
    )  # fmt: skip


def _digits_gan() -> Source:
    settings, state = shipped("digits-gan")
    noise = settings["noise"]
    network = fill(DigitsGenerator(noise=noise, width=settings["width"]), state)
    return generator_source(network, noise=noise, image=(1, 28, 28), lower=0, uri="zoo:digits-gan")


def _mlp_gan() -> Source:
    network = fill(MLPGenerator(), read_torch(PUBLIC_MLP_GAN.find()))
    return generator_source(network, noise=64, image=(1, 28, 28), uri="zoo:mnist-mlp-gan")


SOURCES: dict[str, tuple[Callable[..., Source], str]] = {
    **AUTOMATA,
    "cifar10-resnet20": (
        partial(_resnet, 20),
        "32 x 32 colour images, 10 classes: ResNet-20 (download, 1.1 MB)",
    ),
    "cifar10-resnet32": (
        partial(_resnet, 32),
        "32 x 32 colour images, 10 classes: ResNet-32 (download, 1.9 MB)",
    ),
    "cifar10-resnet56": (
        partial(_resnet, 56),
        "32 x 32 colour images, 10 classes: ResNet-56 (download, 3.5 MB)",
    ),
    "digits": (_digits, "28 x 28 grey digits, 10 classes: LeNet (embedded)"),
    "digits-gan": (_digits_gan, "64 numbers of noise to 28 x 28 digits: convolutions (embedded)"),
    "imagenet-mobilenet-v1-0.25-128": (
        partial(_mobilenet, "v1-0.25-128"),
        "128 x 128 photographs, 1001 classes: MobileNet, quarter width (download, 0.5 MB)",
    ),
    "imagenet-mobilenet-v1-0.5-160": (
        partial(_mobilenet, "v1-0.5-160"),
        "160 x 160 photographs, 1001 classes: MobileNet, half width (download, 1.4 MB)",
    ),
    "imagenet-mobilenet-v1-0.75-192": (
        partial(_mobilenet, "v1-0.75-192"),
        "192 x 192 photographs, 1001 classes: MobileNet, three quarters (download, 2.7 MB)",
    ),
    "imagenet-mobilenet-v2-1.0-224": (
        partial(_mobilenet, "v2-1.0-224"),
        "224 x 224 photographs, 1001 classes: MobileNetV2 (download, 3.6 MB)",
    ),
    "images": (
        _images,
        "32 x 32 colour images, 10 classes: residual network of 20 layers (embedded)",
    ),
    "minilm": (
        minilm,
        "texts of 256 tokens to 384 numbers: all-MiniLM-L6-v2 (read from an installed wheel)",
    ),
    "mnist-lenet": (
        _lenet,
        "28 x 28 grey digits, 10 classes: LeNet (download, 0.2 MB)",
    ),
    "mnist-mlp-gan": (_mlp_gan, "64 numbers of noise to 28 x 28 digits: MLP (download, 1.1 MB)"),
    "speech-commands": (
        _speech_commands,
        "16 kHz speech, 12 classes: attention RNN (embedded)",
    ),
    "speech-commands-35": (
        _public_speech_commands,
        "16 kHz speech, 36 classes: the public attention RNN (download, 3 MB)",
    ),
    "text-bilstm": (
        partial(_sentences, "text-bilstm", LSTMEncoder),
        "English reviews of 128 tokens, 4 classes: LSTMs in both directions (embedded)",
    ),
    "text-cnn": (
        partial(_sentences, "text-cnn", CNNEncoder),
        "English reviews of 128 tokens, 4 classes: convolutions (embedded)",
    ),
    "text-lstm": (
        partial(_sentences, "text-lstm", LSTMEncoder),
        "English reviews of 128 tokens, 4 classes: LSTM (embedded)",
    ),
    "text-mlm": (
        _masked,
        "English texts of 128 tokens, token scores: a small masked transformer (embedded)",
    ),
}
"""Name -> (loader, one line for ``reprogram list sources``)."""
