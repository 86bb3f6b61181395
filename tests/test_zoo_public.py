"""Public source models of images: MobileNets for ImageNet, networks for CIFAR-10 and MNIST."""

import gzip
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from reprogram.sources import zoo
from reprogram.sources.lenet import LeNet
from reprogram.sources.mobilenet import GraphNetwork, SameConv2d
from reprogram.sources.tflite import Graph, Operator, read_tflite
from reprogram.sources.weights import read_torch
from reprogram.types import UserError

VERSIONS = ["v1-0.25-128", "v1-0.5-160", "v1-0.75-192", "v2-1.0-224"]
LAST = {"imagenet-mobilenet-v1-0.25-128": 256, "cifar10-resnet20": 64, "mnist-lenet": 84}


@pytest.fixture
def data(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    return data_root


@pytest.fixture
def tflite():
    return pytest.importorskip("tflite", reason="the extra 'vision' is not installed")


def photographs(side, crops=2):
    """The middle square of scikit-learn's two photographs, and squares of each drawn at random."""
    from sklearn.datasets import load_sample_images

    draw = np.random.default_rng(0)
    for pixels in load_sample_images().images:
        image = Image.fromarray(pixels)
        width, height = image.size
        boxes = [((width - height) // 2, 0, (width + height) // 2, height)]
        for _ in range(crops):
            edge = int(draw.integers(200, height))
            x, y = int(draw.integers(0, width - edge)), int(draw.integers(0, height - edge))
            boxes.append((x, y, x + edge, y + edge))
        for box in boxes:
            yield np.array(image.crop(box).resize((side, side), Image.Resampling.BILINEAR))


def batch(pixels):
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255


# MobileNets


@pytest.mark.parametrize("version", VERSIONS)
def test_photograph_of_a_palace_and_of_a_flower(version, data, tflite):
    source = zoo.load(f"imagenet-mobilenet-{version}")
    assert source.output.shape == (1001,) == (len(source.output.names),)
    assert source.output.names[0] == "background"
    palace, flower = source(batch(list(photographs(source.input.shape[1], crops=0))))
    told = [source.output.names[i] for i in palace.topk(10).indices]
    assert {"palace", "monastery"} & set(told[:5])
    # No class is a dahlia: what has its petals' pattern.
    told = [source.output.names[i].split(",")[0] for i in flower.topk(10).indices]
    assert {"golf ball", "hen-of-the-woods", "honeycomb", "daisy"} & set(told[:3])


@pytest.mark.parametrize("version", VERSIONS)
def test_answers_as_the_quantised_file_does(version, data, tflite):
    """The best class but for near ties; each probability within 0.1: 8-bit layers round."""
    runtime = pytest.importorskip("ai_edge_litert.interpreter", reason="no TFLite runtime")
    source = zoo.load(f"imagenet-mobilenet-{version}")
    pixels = list(photographs(source.input.shape[1]))
    interpreter = runtime.Interpreter(model_path=str(zoo.MOBILENETS[version].find()), num_threads=1)
    interpreter.allocate_tensors()
    (entrance,), (exit,) = interpreter.get_input_details(), interpreter.get_output_details()
    ours = source(batch(pixels)).softmax(1)
    for image, own in zip(pixels, ours, strict=True):
        interpreter.set_tensor(entrance["index"], image[None])
        interpreter.invoke()
        theirs = torch.from_numpy(interpreter.get_tensor(exit["index"])[0] / 256)
        assert (own - theirs).abs().max() < 0.1
        assert own[theirs.argmax()] > own.max() - 0.05


def test_normalised_door_is_the_quantised_input(data, tflite):
    source = zoo.load("imagenet-mobilenet-v1-0.25-128")
    door = source.door("normalised")
    assert (door.input.lower, door.input.upper) == pytest.approx((-1, 127 / 128))
    pixels = torch.arange(256.0)
    torch.testing.assert_close(
        source.chain[0](pixels.expand(1, 3, 1, 256) / 255)[0, 0, 0], (pixels - 128) / 128
    )


def test_control_of_a_mobilenet_hears_and_knows_nothing(data, tflite):
    source = zoo.load("imagenet-mobilenet-v1-0.25-128")
    x = batch(list(photographs(128, crops=8)))
    control = source.randomised(0, x)
    own, theirs = source(x), control(x)
    assert theirs.std() == pytest.approx(own.std().item(), rel=1e-3)
    assert theirs.std(0).mean() == pytest.approx(own.std(0).mean().item(), rel=0.01)
    assert (own.argmax(1) == theirs.argmax(1)).float().mean() < 0.2


@pytest.mark.parametrize("name", LAST)
def test_features_gradient_and_fingerprint(name, data):
    if "mobilenet" in name:
        pytest.importorskip("tflite", reason="the extra 'vision' is not installed")
    source = zoo.load(name)
    assert source.uri == f"zoo:{name}"
    assert zoo.load(name).fingerprint() == source.fingerprint()
    x = torch.rand(2, *source.input.shape).requires_grad_()
    kept = x.detach().clone()
    assert source.features(x).shape == (2, LAST[name])
    source(x)[:, 1].sum().backward()
    assert x.grad.any() and torch.equal(x, kept)
    assert not any(p.requires_grad for p in source.parameters())


# The format


@pytest.fixture
def small_file(data):
    return (data / "weights_imagenet" / "mobilenet_v1_0.25_128_quant.tflite").read_bytes()


def test_a_damaged_file_is_one_line(small_file, tflite):
    draw = np.random.default_rng(0)
    cuts = [8, 100, 5000, len(small_file) // 2]
    damaged = [small_file[:cut] for cut in cuts]
    for _ in range(20):
        start = int(draw.integers(8, len(small_file)))
        damaged.append(small_file[:start] + draw.bytes(60) + small_file[start + 60 :])
    told = 0
    for data in [b"", b"TFL3", *damaged]:
        try:
            GraphNetwork(read_tflite(data))  # damage inside a weight is a weight
        except UserError as error:
            told += 1
            assert "\n" not in str(error)
    assert told >= 2 + len(cuts)


def test_shapes_and_quantisation_of_a_graph(small_file, tflite):
    graph = read_tflite(small_file)
    assert (graph.shape, graph.scale, graph.zero_point) == ((128, 128, 3), 1 / 128, 128)
    kernel, bias = graph.operators[0].constants
    assert kernel.shape == (8, 3, 3, 3) and bias.shape == (8,)
    assert kernel.dtype == bias.dtype == torch.float32
    steps = kernel / 0.008882409892976284
    torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("SOFTMAX", {}, "operator SOFTMAX stands inside"),
        ("CONV_2D", {"padding": "VALID"}, "padding VALID"),
        ("CONV_2D", {"dilation": (2, 2)}, r"dilation \(2, 2\)"),
        ("CONV_2D", {"activation": "TANH"}, "activation TANH is not supported"),
        ("AVERAGE_POOL_2D", {"window": (2, 2)}, "padding SAME"),
    ],
)
def test_what_no_module_here_computes(kind, options, said):
    usual = {"stride": (1, 1), "padding": "SAME", "dilation": (1, 1), "activation": "NONE"}
    constants = (torch.zeros(2, 3, 3, 3), torch.zeros(2))
    operator = Operator(kind, (0,), 1, constants, usual | options)
    last = Operator("CONV_2D", (1,), 2, constants, usual)
    with pytest.raises(UserError, match=said):
        GraphNetwork(Graph((operator, last), 0, 2, (8, 8, 3), 1.0, 0))


@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_same_padding_against_the_definition(side, stride, kernel):
    """Output i reads input stride i + k - before, where before is half of all padding, rounded."""
    layer = SameConv2d(1, 1, (kernel, kernel), stride=(stride, stride))
    x = torch.rand(1, 1, side, side)
    count = -(-side // stride)
    before = max((count - 1) * stride + kernel - side, 0) // 2
    expected = torch.zeros(count, count)
    for i in range(count):
        for j in range(count):
            for a in range(kernel):
                for b in range(kernel):
                    row, column = stride * i + a - before, stride * j + b - before
                    if 0 <= row < side and 0 <= column < side:
                        expected[i, j] += (layer.weight[0, 0, a, b] * x[0, 0, row, column]).detach()
    assert layer.bias is not None
    torch.testing.assert_close(layer(x)[0, 0], expected + layer.bias)


def test_without_the_reader_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tflite", None)
    with pytest.raises(UserError, match=r"needs tflite.*reprogram\[vision\]"):
        read_tflite(b"\0\0\0\0TFL3")


# Small networks


@pytest.mark.parametrize(("depth", "least"), [(20, 0.78), (32, 0.8), (56, 0.8)])
def test_cifar_accuracy_on_lossy_images(depth, least, data):
    """81 % of ResNet-20 on all 2,000 JPEG images; 91.8 % on the original ones."""
    source = zoo.load(f"cifar10-resnet{depth}")
    right = 0
    for index, label in enumerate(source.output.names):
        with zipfile.ZipFile(data / "cifar10_jpg" / f"test_{label}.zip") as archive:
            names = sorted(archive.namelist())[:20]
            pixels = [np.asarray(Image.open(io.BytesIO(archive.read(name)))) for name in names]
        right += int((source(batch(pixels)).argmax(1) == index).sum())
    assert right / 200 >= least


def test_lenet_reads_98_percent_of_the_digits(data):
    def read(name, header):
        return np.frombuffer(gzip.decompress((data / "mnist" / name).read_bytes())[header:], "u1")

    pixels = torch.from_numpy(read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28) / 255)
    labels = torch.from_numpy(read("t10k-labels-idx1-ubyte.gz", 8).astype(int))
    source = zoo.load("mnist-lenet")
    assert source.output.names == tuple("0123456789")
    assert (source(pixels.float()).argmax(1) == labels).float().mean() >= 0.98


def test_files_of_torch(tmp_path):
    path = tmp_path / "weights.pth"
    state = LeNet().state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "best": 1.0}, path)
    found = read_torch(path)
    assert all(torch.equal(found[name], value) for name, value in state.items())
    torch.save({"weight": torch.zeros(1), "other": 2}, path)
    with pytest.raises(UserError, match="more than tensors by name"):
        read_torch(path)
    path.write_bytes(b"nothing of torch")
    with pytest.raises(UserError, match="holds no weights of torch"):
        read_torch(path)
