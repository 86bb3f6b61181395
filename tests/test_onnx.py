"""ONNX: the same model exported and read back; files of others; files that are none."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import black_box, image_source, image_task, linear_source, speech_source
from torch import Tensor, nn

import reprogram
from reprogram import sources
from reprogram.cli.export import export
from reprogram.mappings import Fixed
from reprogram.optim import SPSA, Backprop
from reprogram.program import Program
from reprogram.sources import Source, TorchSource
from reprogram.sources.onnx import CHUNK, OnnxSource, load
from reprogram.sources.onnx_export import export_onnx, largest_difference
from reprogram.transformations import Compose, Frame, Resize
from reprogram.types import InputSpec, OutputSpec, Scores, UserError

onnx = pytest.importorskip("onnx", reason="the extra 'blackbox' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'blackbox' is not installed")
pytest.importorskip("onnxscript", reason="the extra 'blackbox' is not installed")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def probable() -> TorchSource:
    """Of probabilities."""
    network = nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))
    return TorchSource(
        network, OutputSpec("classes", (3,)), input=InputSpec("table", (4,), 0, 1),
        scores=Scores.PROBABILITIES,
    )  # fmt: skip


def embedding() -> TorchSource:
    """Of no classes."""
    spec = InputSpec("table", (4,))
    return TorchSource(nn.Linear(4, 3), OutputSpec("embedding", (3,)), input=spec)


SOURCES = {
    "images": image_source,
    "features": lambda: speech_source().door("log-mel"),
    "probabilities": probable,
    "embedding": embedding,
    "zoo:speech-commands": lambda: sources.load("zoo:speech-commands"),
}
SLOW = (
    "zoo:images", "zoo:images#normalised", "zoo:speech-commands#log-mel",
    "zoo:imagenet-mobilenet-v1-0.25-128", "zoo:imagenet-mobilenet-v2-1.0-224",
    "zoo:cifar10-resnet20", "zoo:mnist-lenet", "zoo:speech-commands-35",
)  # fmt: skip


def inputs(source: Source, n: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand((n, *source.input.shape), generator=generator)


def assert_same(source: Source, other: Source) -> None:
    for n in (1, 3):
        x = inputs(source, n)
        expected = source(x)
        atol = 1e-4 * float(expected.max() - expected.min())
        torch.testing.assert_close(other(x), expected, atol=atol, rtol=0)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """``pair(name)``: a torch source, and the same from its ONNX file; each exported once."""
    made: dict[str, tuple[TorchSource, OnnxSource]] = {}

    def get(name: str) -> tuple[TorchSource, OnnxSource]:
        if name not in made:
            source = SOURCES[name]()
            path = export_onnx(source, tmp_path_factory.mktemp("onnx") / "model.onnx")
            made[name] = source, OnnxSource(path)
        return made[name]

    return get


# --- exported and read back ---------------------------------------------------------------------


@pytest.mark.parametrize("name", SOURCES)
def test_an_exported_source_says_the_same(name: str, pair) -> None:
    source, exported = pair(name)
    assert (exported.input, exported.output, exported.scores) == (
        source.input, source.output, source.scores,
    )  # fmt: skip
    assert_same(source, exported)


@pytest.mark.slow
@pytest.mark.parametrize("uri", SLOW)
def test_every_source_of_the_zoo_says_the_same(uri: str, tmp_path: Path, monkeypatch, request):
    if uri.partition("#")[0] not in ("zoo:images", "zoo:speech-commands"):
        monkeypatch.setenv("REPROGRAM_DATA", str(request.getfixturevalue("data_root")))
    source = sources.load(uri)
    assert_same(source, OnnxSource(export_onnx(source, tmp_path / "model.onnx")))


@pytest.mark.parametrize("name", ["images", "features", "probabilities"])
def test_the_contract_of_a_source(name: str, pair) -> None:
    _, source = pair(name)
    x = inputs(source, 4).requires_grad_()
    kept = x.detach().clone()
    first = source.train()(x)
    assert not source.gradient and not source.open and not first.requires_grad
    assert not source.training and not list(source.parameters())
    assert first.isfinite().all() and first.shape == (4, *source.output.shape)
    assert torch.equal(source(x), first) and torch.equal(x, kept)
    assert source.door(source.input.kind) is source
    with pytest.raises(UserError, match="opaque"):
        source.randomised(0)


def test_an_export_leaves_its_source_as_it_was(tmp_path: Path) -> None:
    source = image_source()
    state, before = torch.get_rng_state(), source.fingerprint()
    export_onnx(source, tmp_path / "model.onnx")
    assert source.fingerprint() == before and torch.equal(torch.get_rng_state(), state)
    assert not any(p.requires_grad for p in source.parameters())
    assert not any(m.training for m in source.modules() if not isinstance(m, nn.RNNBase))


def test_an_export_is_quiet(tmp_path: Path, capfd, recwarn) -> None:
    export_onnx(linear_source(), tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "") and not recwarn.list


def test_more_samples_than_are_asked_at_once(pair) -> None:
    source, exported = pair("probabilities")
    x = inputs(source, 2 * CHUNK + 1)
    torch.testing.assert_close(exported(x), source(x), atol=1e-4, rtol=0)


class Rotate(nn.Module):
    """Has no ONNX form."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x.reshape(-1, 2, 2)).real


class Fickle(nn.Module):
    """Other numbers when its weights want a gradient: what an export sees."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) + float(self.out.weight.requires_grad)


def refusing(network: nn.Module) -> TorchSource:
    return TorchSource(network, OutputSpec("classes", (2,)), input=InputSpec("table", (4,)))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: black_box(linear_source()), "opaque"),
        (lambda: sources.restricted(linear_source(), "label"), "opaque"),
        (lambda: refusing(Rotate()), "no ONNX form"),
        (lambda: refusing(Fickle()), "answers otherwise"),
        (
            lambda: TorchSource(
                nn.Embedding(9, 2), OutputSpec("classes", (2,)), input=InputSpec("tokens", (4,))
            ),
            "takes tokens",
        ),
    ],
)
def test_an_export_that_fails_leaves_nothing(make, words: str, tmp_path: Path) -> None:
    (tmp_path / "old.onnx").write_text("stays")
    with pytest.raises(UserError, match=words) as caught:
        export_onnx(make(), tmp_path / "old.onnx")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["old.onnx"]
    assert (tmp_path / "old.onnx").read_text() == "stays"


# --- a program on it ----------------------------------------------------------------------------


def training(source: Source, optimizer) -> reprogram.Training:
    transformation = Compose([Resize(12), Frame()])
    return reprogram.Training(source, transformation, Fixed(), optimizer, epochs=2, batch_size=8)


def test_a_program_is_trained_saved_and_verified(pair, tmp_path: Path) -> None:
    torch_source, source = pair("images")
    path = tmp_path / "model.onnx"
    path.write_bytes(source.path.read_bytes())
    source, task = sources.load(f"onnx:{path}"), image_task()
    program = reprogram.fit(training(source, SPSA()), task, tmp_path / "run")
    x, *_ = task.train.batch(torch.arange(5))
    again = Program.load(tmp_path / "run")
    assert again.source.uri == f"onnx:{path}"
    assert torch.equal(again.predict(x).scores, program.predict(x).scores)
    export_onnx(torch_source.randomised(0), path)
    with pytest.raises(UserError, match=r"weights|fingerprint|changed"):
        Program.load(tmp_path / "run")
    with pytest.raises(UserError, match="needs a gradient"):
        training(source, Backprop())


# --- files of others ----------------------------------------------------------------------------

WEIGHT = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)  # (columns, classes)


def foreign(
    path: Path, *, last: str = "Softmax", batch: int | str = "n", type: int = TensorProto.FLOAT,
    extra: bool = False, inputs: int = 1, classes: int | str = 4,
) -> Path:  # fmt: skip
    """A linear classifier of tables without metadata."""
    dtype = helper.tensor_dtype_to_np_dtype(type)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["z"]),
        helper.make_node(last, ["z"], ["scores"]),
    ]
    given = [helper.make_tensor_value_info("x", type, [batch, 5])]
    if inputs == 2:
        nodes[0] = helper.make_node("MatMul", ["x", "w"], ["y"])
        nodes.insert(1, helper.make_node("Mul", ["y", "scale"], ["z"]))
        given.append(helper.make_tensor_value_info("scale", type, [1]))
    told = [helper.make_tensor_value_info("scores", type, [batch, classes])]
    if extra:
        nodes.append(helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0))
        told.insert(0, helper.make_tensor_value_info("label", TensorProto.INT64, [batch]))
        told.append(helper.make_tensor_value_info("z", type, [batch, 4]))
    return save(path, nodes, given, told, WEIGHT.astype(dtype))


def foreign_image(
    path: Path, shape: tuple[int | str, ...] = (3, 8, 8), *, channels: int = 3
) -> Path:
    """The mean of each channel, times a matrix: logits of four classes."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w"], ["scores"]),
    ]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])]
    told = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 4])]
    return save(path, nodes, given, told, WEIGHT[:channels])


def save(path: Path, nodes, given, told, weight: np.ndarray) -> Path:
    weights = [numpy_helper.from_array(weight, "w")]
    graph = helper.make_graph(nodes, "graph", given, told, initializer=weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(path))
    return path


BOUNDS = {"lower": "0", "upper": "1"}


@pytest.mark.parametrize("batch", ["n", 3, 1])
@pytest.mark.parametrize("type", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16])
def test_a_file_without_metadata(batch: int | str, type: int, tmp_path: Path) -> None:
    source = load(str(foreign(tmp_path / "model.onnx", batch=batch, type=type)))
    assert source.input == InputSpec("table", (5,))
    assert source.output == OutputSpec("classes", (4,))
    assert source.scores == Scores.PROBABILITIES
    for n in (1, 2, 3, 7):  # less than the fixed batch, as many, several and a rest
        x = inputs(source, n)
        expected = (x @ torch.tensor(WEIGHT)).log_softmax(1)
        near = 1e-2 if type == TensorProto.FLOAT16 else 1e-5
        torch.testing.assert_close(source(x).float(), expected, atol=near, rtol=0)


def test_an_open_number_of_classes_is_asked_for(tmp_path: Path) -> None:
    source = load(str(foreign(tmp_path / "model.onnx", classes="c")))
    assert source.output.shape == (4,)


@pytest.mark.parametrize("output", ["scores", "z"])
def test_one_of_several_outputs(output: str, tmp_path: Path) -> None:
    path = foreign(tmp_path / "model.onnx", extra=True)
    with pytest.raises(UserError, match="give option 'output' as 'scores' or 'z'"):
        load(str(path))
    source = load(str(path), output=output)
    assert source.scores == (Scores.LOGITS if output == "z" else Scores.PROBABILITIES)
    x = inputs(source, 2)
    torch.testing.assert_close(source(x).softmax(1), (x @ torch.tensor(WEIGHT)).softmax(1))


def test_what_is_stated_of_an_image(tmp_path: Path) -> None:
    path = foreign_image(tmp_path / "model.onnx", ("c", "h", "w"))
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\n")
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    uri = (f"onnx:{path}?shape=3,8,8&lower=0&upper=255&mean=0.1,0.2,0.3&std=0.5,1,2"
           f"&names={tmp_path}/names.txt")  # fmt: skip
    source = sources.load(uri)
    assert source.uri == uri and source.output.names == tuple("abcd")
    assert source.input == InputSpec("image", (3, 8, 8), 0, 255)
    x = inputs(source, 2)
    normal = (x.mean((2, 3)) - torch.tensor(mean)) / torch.tensor(std)
    torch.testing.assert_close(source(x), normal @ torch.tensor(WEIGHT[:3]))
    same = OnnxSource(path, shape=(3, 8, 8), lower=0, upper=255, mean=mean, std=std,
                      names=tmp_path / "names.txt")  # fmt: skip
    assert same.fingerprint() == source.fingerprint()


def test_one_number_normalises_a_waveform(tmp_path: Path) -> None:
    path = foreign(tmp_path / "model.onnx")
    source = load(f"{path}?kind=waveform&lower=-1&upper=1&rate=8000&mean=0.5&std=2")
    assert source.input == InputSpec("waveform", (5,), -1, 1, rate=8000.0)
    x = inputs(source, 2)
    expected = ((x - 0.5) / 2 @ torch.tensor(WEIGHT)).log_softmax(1)
    torch.testing.assert_close(source(x), expected)


def test_the_fingerprint_sees_every_change(tmp_path: Path) -> None:
    path = foreign_image(tmp_path / "model.onnx")
    options = [{}, {"mean": "0.5"}, {"std": "0.5"}, {"upper": "2"}, {"scores": "probabilities"}]
    prints = [load(str(path), **{**BOUNDS, **more}).fingerprint() for more in options]
    assert len(set(prints)) == len(prints)
    assert load(str(path), **BOUNDS).fingerprint() == prints[0]


def test_the_fingerprint_sees_weights_in_a_file_of_their_own(tmp_path: Path) -> None:
    path = foreign(tmp_path / "model.onnx")
    model = onnx.load(str(path))
    onnx.save(model, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    before = load(str(path))
    weights = np.frombuffer((tmp_path / "w.bin").read_bytes(), np.float32)
    (tmp_path / "w.bin").write_bytes((2 * weights).tobytes())
    after = load(str(path))
    assert before.fingerprint() != after.fingerprint()
    assert not torch.equal(before(torch.ones(1, 5)), after(torch.ones(1, 5)))
    (tmp_path / "w.bin").unlink()
    with pytest.raises(UserError, match="no ONNX file that onnxruntime can run"):
        load(str(path))


# --- refused ------------------------------------------------------------------------------------


def one_line(caught, *words: str) -> None:
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "'lower'"),
        ({"lower": "0"}, "'upper'"),
        ({**BOUNDS, "mena": "0"}, "did you mean 'mean'"),
        ({**BOUNDS, "kind": "tokens"}, "kind of input 'tokens'"),
        ({**BOUNDS, "kind": "table"}, "has 1 axes"),
        ({"lower": "1", "upper": "0"}, "lower < upper"),
        ({"lower": "zero", "upper": "1"}, "'lower' is 'zero'"),
        ({"lower": "0,1", "upper": "1"}, "give one number"),
        ({**BOUNDS, "upper": "nan"}, "'upper' is 'nan'"),
        ({**BOUNDS, "scores": "label"}, "Known: logits, probabilities"),
        ({**BOUNDS, "mean": "0.1,0.2"}, "'mean' has 2 values and the input 3 channels"),
        ({**BOUNDS, "std": "0"}, "give values above 0"),
        ({**BOUNDS, "names": "nowhere.txt"}, "'nowhere.txt', which is no text file"),
        ({**BOUNDS, "shape": "3,9,9"}, "'shape' is '3,9,9'"),
        ({**BOUNDS, "output": "x"}, "give option 'output' as 'scores'"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, str], words: str, tmp_path: Path) -> None:
    path = foreign_image(tmp_path / "model.onnx")
    with pytest.raises(UserError) as caught:
        load(str(path), **options)
    one_line(caught, words)


def test_names_must_be_as_many_as_classes(tmp_path: Path) -> None:
    path = foreign_image(tmp_path / "model.onnx")
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="names 2 classes and the graph has 4"):
        load(str(path), **BOUNDS, names=str(tmp_path / "names.txt"))


@pytest.mark.parametrize("query, words", [("lower", "write option"), ("a=1&a=2", "stands twice")])
def test_options_that_are_none(query: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(f"model.onnx?{query}")


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda p: foreign_image(p, (5, 8, 3), channels=5), "its channels come last"),
        (lambda p: foreign_image(p, (2, 8, 8), channels=2), "'kind'"),
        (lambda p: foreign_image(p, (3, "h", "w")), "give option 'shape'"),
        (lambda p: foreign(p, last="Sigmoid"), "'scores'"),
        (lambda p: foreign(p, inputs=2), "takes one tensor of floats"),
        (lambda p: p.write_bytes(b""), "no ONNX file"),
        (lambda p: p.write_text("hello"), "no ONNX file"),
        (lambda p: p.mkdir(), "there is no ONNX file"),
        (lambda p: None, "there is no ONNX file"),
        (lambda p: foreign(p, last="Frobnicate"), "Frobnicate"),
        (lambda p: p.write_bytes(foreign(p).read_bytes()[:80]), "no ONNX file"),
    ],
)
def test_files_that_are_refused(make, words: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    make(path)
    with pytest.raises(UserError) as caught:
        load(str(path))
    one_line(caught, words, "model.onnx")


@pytest.mark.parametrize("told", ["{", "[]", "{}", '{"input": {"kind": "image"}}'])
def test_metadata_that_cannot_be_read(told: str, tmp_path: Path) -> None:
    path = foreign(tmp_path / "model.onnx")
    model = onnx.load(str(path))
    helper.set_model_props(model, {"reprogram": told})
    onnx.save(model, str(path))
    with pytest.raises(UserError, match="metadata cannot be read"):
        load(str(path))


def test_what_a_file_tells_is_not_stated_again(pair) -> None:
    _, source = pair("images")
    with pytest.raises(UserError, match="option 'mean' is for files that do not"):
        OnnxSource(source.path, mean="0.5")


def test_samples_of_another_shape(pair) -> None:
    _, source = pair("images")
    with pytest.raises(UserError, match=r"takes samples of shape \(3, 20, 20\)"):
        source(torch.zeros(2, 3, 9, 9))


# --- the command --------------------------------------------------------------------------------


def test_the_command_writes_and_measures(tmp_path: Path, capsys, monkeypatch) -> None:
    source = linear_source()
    monkeypatch.setattr(sources, "load", lambda uri: source)
    file = tmp_path / "model.onnx"
    export("tiny:linear", file, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["file"] == str(file) and told["bytes"] == file.stat().st_size
    assert told["difference"] == largest_difference(source, OnnxSource(file)) < 1e-4
    export("tiny:linear", file, random=True, seed=5)
    assert "model.onnx" in capsys.readouterr().out
    assert_same(source.randomised(5), OnnxSource(file))
    with pytest.raises(UserError, match="give --random"):
        export("tiny:linear", file, seed=5)


def test_specifications_survive(pair) -> None:
    source, exported = pair("zoo:speech-commands")
    assert dataclasses.asdict(exported.input) == dataclasses.asdict(source.input)
    assert exported.output.names == source.output.names
