"""Adapters are read with care; samples and replies keep their meaning on the way."""

import base64
import io
import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reprogram.sources.adapter import Adapter, read_adapter
from reprogram.sources.encoding import Unusable, body, encode, read_reply
from reprogram.types import Scores, Tokens, UserError

GOOD = {
    "url": "https://models.example/v1?model=pets",
    "input": {"kind": "image", "shape": [3, 4, 5], "lower": 0, "upper": 1},
    "classes": ["cat", "dog", "cow"],
    "scores": "probabilities",
    "reply": "predictions.*.scores",
}
PAIR = {"classes": "predictions.*.*.label", "scores": "predictions.*.*.score"}
WAVES = {"kind": "waveform", "shape": [8], "rate": 4000}


def adapter(**changes: object) -> Adapter:
    return Adapter.model_validate_json(json.dumps({**GOOD, **changes}), strict=True)


def write(folder: Path, **changes: object) -> Path:
    values = {k: v for k, v in {**GOOD, **changes}.items() if v is not ...}
    path = folder / "api.json"
    path.write_text(json.dumps(values))
    return path


def test_a_file_is_read_with_the_files_it_names(tmp_path, monkeypatch):
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    (tmp_path / "words.txt").write_text("the\nmat\n")
    path = write(
        tmp_path, classes="names.txt", vocabulary="words.txt", encode="text",
        input={"kind": "tokens", "shape": [7]}, batch=4, price=1.5,
    )  # fmt: skip
    monkeypatch.chdir("/")
    read = read_adapter(path)
    assert read.output_spec.names == ("cat", "dog") and read.output_spec.shape == (2,)
    assert (read.input_spec.lower, read.input_spec.upper) == (0, 1)
    assert read.vocabulary == ("the", "mat") and read.batch == 4 and read.price == 1.5


def test_classes_may_be_a_number():
    spec = adapter(classes=5).output_spec
    assert spec.shape == (5,) and spec.names == ()


def test_bounds_that_are_not_given():
    table = adapter(input={"kind": "table", "shape": [2]}).input_spec
    assert (table.lower, table.upper) == (-np.inf, np.inf)
    spec = adapter(input=WAVES, encode="wav").input_spec
    assert (spec.lower, spec.upper, spec.rate) == (-1, 1, 4000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"url": ...}, "field 'url': Field required"),
        ({"url": "ftp://models.example"}, "field 'url': .* is no URL"),
        ({"url": "models.example/v1"}, "field 'url': .* is no URL"),
        ({"url": "https://models.example:99999"}, "field 'url': .* is no URL"),
        ({"url": "https://models.example/a b"}, "field 'url': .* is no URL"),
        ({"url": "https://models.example/#top"}, "holds a '#'"),
        ({"url": "https://models.example/?key=${KEY}"}, "variables are for headers"),
        ({"url": "https://models.example/?adapter=1"}, "'adapter', which means something else"),
        ({"input": 3}, "field 'input'"),
        ({"input": {"kind": "picture", "shape": [3]}}, r"field 'input\.kind'"),
        ({"input": {"kind": "table", "shape": []}}, r"field 'input\.shape'"),
        ({"input": {"kind": "table", "shape": [0]}}, r"field 'input\.shape\.0'"),
        ({"input": {"kind": "table", "shape": [2], "uper": 1}}, "'uper'; did you mean 'upper'"),
        ({"input": {"kind": "table", "shape": [2], "lower": 2, "upper": 1}}, "lower is 2 and"),
        ({"classes": "absent.txt"}, "field 'classes': file .*absent.txt cannot be read"),
        ({"classes": []}, "field 'classes': give a list of names"),
        ({"classes": [1, 2]}, "field 'classes': give a list of names"),
        ({"classes": True}, "field 'classes': give a list of names"),
        ({"classes": 0}, "field 'classes': give a list of names"),
        ({"scores": "top5"}, "field 'scores'"),
        ({"scores": "topk"}, "topk needs two"),
        ({"scores": "label", "reply": PAIR}, "a label needs one"),
        ({"reply": 3}, "field 'reply': give a path, or two"),
        ({"reply": {"classes": "a"}}, "field 'reply': give a path, or two"),
        ({"encode": "jpeg"}, "field 'encode'"),
        ({"encode": "wav"}, "wav, which is for input of kind waveform, not image"),
        ({"encode": "wav", "input": {**WAVES, "rate": None}}, "a whole rate"),
        ({"encode": "png", "input": {"kind": "image", "shape": [3, 4, 5]}}, "lower and upper"),
        ({"encode": "png", "input": {**GOOD["input"], "shape": [2, 4, 5]}}, "png takes"),
        ({"encode": "text", "input": {"kind": "tokens", "shape": [3]}}, "'vocabulary' goes with"),
        ({"vocabulary": ["a"]}, "'vocabulary' goes with"),
        ({"request": {"rows": []}}, "'request' holds"),
        ({"request": {"rows": "$inputs", "row": "$input"}}, "'request' holds"),
        ({"request": {"rows": "all of $inputs"}}, "'request' holds"),
        ({"sample": {"b64": "image"}}, "'sample' holds"),
        ({"request": {"row": "$input"}, "batch": 2}, "'batch' is 2"),
        ({"request": {"row": "data:$input"}}, "which is an array"),
        ({"batch": 0}, "field 'batch'"),
        ({"batch": 1.5}, "field 'batch'"),
        ({"batch": "4"}, "field 'batch'"),
        ({"concurrency": 1000}, "field 'concurrency'"),
        ({"timeout": 0}, "field 'timeout'"),
        ({"timeout": float("nan")}, "field 'timeout'"),
        ({"retries": -1}, "field 'retries'"),
        ({"backoff": -1}, "field 'backoff'"),
        ({"price": -1}, "field 'price'"),
        ({"headers": {"X-Key": 3}}, r"field 'headers\.X-Key'"),
        ({"headers": {"X Key": "3"}}, "'X Key' is no name of a header"),
        ({"headers": {"X-Key": "a\nb"}}, "'X-Key' holds a character"),
        ({"headers": {"X-Key": "${KEY"}}, "'X-Key' holds .* begins no"),
        ({"concurency": 2}, "unknown field 'concurency'; did you mean 'concurrency'"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
def test_malformed_adapters_name_file_and_field(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as error:
        read_adapter(write(tmp_path, **changes))
    assert str(tmp_path / "api.json") in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff\xfe", b'{"a":' * 5000])
def test_what_is_no_adapter(tmp_path, content):
    path = tmp_path / "api.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"adapter .*api\.json"):
        read_adapter(path)


def test_an_absent_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UserError, match="cannot be read"):
            read_adapter(path)


@pytest.mark.parametrize(
    "url", ["https://user:hush@models.example/", "http://user:hush@[::1", "//me:hush@h", "u:hush@h"]
)
def test_a_password_in_a_url_is_refused_and_not_repeated(tmp_path, url):
    with pytest.raises(UserError, match="put them into a header") as error:
        read_adapter(write(tmp_path, url=url))
    assert "hush" not in str(error.value)


def test_what_decides_answers_and_what_does_not():
    same = adapter(headers={"X": "y"}, timeout=1, retries=1, backoff=1, price=1, concurrency=1,
                   batch=9)  # fmt: skip
    assert same.answering() == adapter().answering()
    others = [{"url": "http://other.example"}, {"classes": 3}, {"scores": "logits"},
              {"encode": "png"}, {"reply": "*"}, {"request": ["$inputs"]}]  # fmt: skip
    assert len({adapter(**other).answering() for other in [{}, *others]}) == 1 + len(others)


def grid(*shape: int, lower: float = 0.0, upper: float = 1.0) -> torch.Tensor:
    steps = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0))
    return lower + steps / 255 * (upper - lower)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 3.0)])
def test_png_keeps_the_grid(channels, bounds):
    spec = {"kind": "image", "shape": [channels, 4, 5], "lower": bounds[0], "upper": bounds[1]}
    x = grid(2, channels, 4, 5, lower=bounds[0], upper=bounds[1])
    for image, sent in zip(x, encode(x, adapter(input=spec, encode="png")), strict=True):
        pixels = np.array(Image.open(io.BytesIO(base64.b64decode(sent))))
        assert pixels.dtype == np.uint8
        back = torch.from_numpy(pixels / 255.0).reshape(4, 5, channels).permute(2, 0, 1)
        back = bounds[0] + back * (bounds[1] - bounds[0])
        assert torch.allclose(back.float(), image, atol=1e-6)


def test_png_rounds_and_stays_within_bounds():
    x = torch.tensor([-0.5, 0.0, 0.49 / 255, 0.51 / 255, 1.5]).expand(1, 1, 2, 5)
    spec = {"kind": "image", "shape": [1, 2, 5], "lower": 0, "upper": 1}
    (sent,) = encode(x, adapter(input=spec, encode="png"))
    pixels = np.array(Image.open(io.BytesIO(base64.b64decode(sent))))
    assert pixels.tolist() == [[0, 0, 0, 1, 255]] * 2


@pytest.mark.parametrize("peak", [1.0, 32768.0])
def test_wav_is_sixteen_bit_mono(peak):
    bounds = {} if peak == 1 else {"lower": -peak, "upper": peak}
    x = peak * torch.tensor([[0.0, 0.5, -0.5, 1.0, -1.0, 0.25, 1e-6, 2.0]])
    (sent,) = encode(x, adapter(input={**WAVES, **bounds}, encode="wav"))
    with wave.open(io.BytesIO(base64.b64decode(sent))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 4000)
        samples = np.frombuffer(file.readframes(8), "<i2")
    assert samples.tolist() == [0, 16384, -16384, 32767, -32767, 8192, 0, 32767]


def texts(**changes: object) -> Adapter:
    spec = {"kind": "tokens", "shape": [4]}
    return adapter(input=spec, encode="text", vocabulary=["the", "cat", "sat"], **changes)


def test_text_skips_what_is_masked_out():
    ids = torch.tensor([[0, 1, 2, 0], [2, 1, 9, 9]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    assert encode(Tokens(ids, mask), texts()) == ["the cat sat", "sat"]
    assert encode(ids[:1], texts(join="")) == ["thecatsatthe"]


def test_arrays_keep_every_bit():
    x = torch.randn(3, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(torch.tensor(json.loads(json.dumps(encode(x, adapter())))), x)
    assert encode(x.bfloat16(), adapter()) == x.bfloat16().float().tolist()


@pytest.mark.parametrize(
    ("x", "given", "message"),
    [
        (torch.zeros(2, 3, 4, 4), adapter(), r"shape \[3, 4, 5\], not \[3, 4, 4\]"),
        (torch.full((1, 3, 4, 5), torch.nan), adapter(), "not finite"),
        (Tokens(torch.zeros(1, 4), torch.ones(1, 4)), adapter(), "tokens go as 'encode' text"),
        (torch.tensor([[0, 3]]), texts(), "token id 3 is outside the vocabulary of 3"),
        (torch.tensor([[0, -1]]), texts(), "token id -1 is outside"),
        (torch.zeros(2, 4), texts(), "takes token ids"),
        (torch.zeros(4, dtype=torch.long), texts(), "takes token ids"),
    ],
)
def test_samples_that_do_not_fit(x, given, message):
    with pytest.raises(UserError, match=message):
        encode(x, given)


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        ({}, {"inputs": ["a", "b"]}),
        ({"request": {"n": 1, "rows": "$inputs"}, "sample": {"b64": "$input"}},
         {"n": 1, "rows": [{"b64": "a"}, {"b64": "b"}]}),
        ({"request": ["$inputs", None], "sample": "data:$input"}, [["data:a", "data:b"], None]),
        ({"request": {"rows": ["$input"], "$input": "as a key"}},
         {"rows": ["a"], "$input": "as a key"}),
        ({"request": "$input"}, "a"),
        ({"request": {"prompt": "$input? $input!"}}, {"prompt": "a? a!"}),
    ],
)  # fmt: skip
def test_requests_are_filled(changes, sent):
    assert json.loads(body(["a", "b"], adapter(encode="png", **changes))) == sent


def scores(said: object, count: int = 1, /, **changes: object) -> torch.Tensor:
    return read_reply(json.dumps(said).encode(), count, adapter(**changes))


TWO = torch.tensor([[0.2, 0.7, 0.1], [0.5, 0.25, 0.25]])


def test_a_row_of_scores_for_each_sample():
    reply = {"predictions": [{"scores": row} for row in TWO.tolist()]}
    assert torch.allclose(scores(reply, 2), TWO.log())
    assert torch.allclose(scores(reply, 2, scores="logits"), TWO)
    assert torch.allclose(scores([TWO.tolist()], 2, reply="0"), TWO.log())
    assert torch.allclose(scores(TWO.tolist(), 2, reply="*"), TWO.log())
    assert torch.allclose(scores(TWO.tolist(), 2, reply=""), TWO.log())


def test_full_lists_come_in_any_order():
    names = ["cow", "cat", "dog"]
    reply = {"predictions": [
        [{"label": n, "score": row[GOOD["classes"].index(n)]} for n in names]
        for row in TWO.tolist()
    ]}  # fmt: skip
    assert torch.allclose(scores(reply, 2, reply=PAIR), TWO.log())
    assert torch.allclose(scores(reply, 2, reply=PAIR, scores="logits"), TWO)


@pytest.mark.parametrize("labels", [["dog", "cat"], [1, 0], ["1", "0"]])
def test_the_best_few_by_name_or_index(labels):
    classes = 3 if labels[0] == "1" else GOOD["classes"]
    reply = {"predictions": [{"labels": labels, "scores": [0.75, 0.125]}]}
    paths = {"classes": "predictions.*.labels", "scores": "predictions.*.scores"}
    told = scores(reply, scores="topk", reply=paths, classes=classes)
    assert torch.allclose(told.exp(), torch.tensor([[0.125, 0.75, 0.125]]))


def test_rows_of_the_best_may_differ_in_length():
    one, none = [{"label": "cow", "score": 0.5}], []
    told = scores({"predictions": [one, none]}, 2, scores="topk", reply=PAIR)
    assert torch.allclose(told.exp(), torch.tensor([[0.25, 0.25, 0.5], [1 / 3, 1 / 3, 1 / 3]]))


@pytest.mark.parametrize("label", ["dog", 1])
def test_a_label_and_nothing_else(label):
    told = scores({"predictions": [{"label": label}]}, scores="label", reply="predictions.*.label")
    assert told.argmax(1).tolist() == [1] and adapter(scores="label").level == Scores.LABEL


def test_one_sample_has_no_batch_axis():
    one = {"request": {"row": "$input"}}
    assert scores({"best": "dog"}, scores="label", reply="best", **one).argmax(1).tolist() == [1]
    assert torch.allclose(scores({"p": TWO[0].tolist()}, reply="p", **one), TWO[:1].log())
    paths = {"classes": "*.label", "scores": "*.score"}
    reply = [{"label": "cow", "score": 0.5}, {"label": "cat", "score": 0.5}]
    told = scores(reply, scores="topk", reply=paths, **one)
    assert torch.allclose(told.exp(), torch.tensor([[0.5, 1e-6, 0.5]]))


LABEL = {"scores": "label", "reply": "*"}
FEW = {"scores": "topk", "reply": PAIR}


def few(*pairs: tuple) -> dict:
    return {"predictions": [[{"label": label, "score": score} for label, score in pairs]]}


@pytest.mark.parametrize(
    ("reply", "changes", "message"),
    [
        (None, {}, "without 'predictions'"),
        ({"error": "busy"}, {}, "without 'predictions'"),
        ({"predictions": {"scores": [1, 0, 0]}}, {}, r"without '\*'"),
        ({"predictions": [[0.2, 0.8]]}, {}, "without 'scores'"),
        ({"predictions": []}, {}, "0 rows for 1 samples"),
        ({"predictions": [{"scores": [1, 0, 0]}] * 2}, {}, "2 rows for 1 samples"),
        ({"predictions": [{"scores": [1, 0]}]}, {}, r"\(1, 2\); \(batch, 3\) was promised"),
        ({"predictions": [{"scores": 1.0}]}, {}, "float where a list was promised"),
        ({"predictions": [{"scores": [1, 0, float("nan")]}]}, {}, "not finite"),
        ({"predictions": [{"scores": [1, 0, 10**400]}]}, {"scores": "logits"}, "not finite"),
        ({"predictions": [{"scores": [1, 0, None]}]}, {}, "NoneType, not a number"),
        ({"predictions": [{"scores": [True, 0, 0]}]}, {}, "bool, not a number"),
        ({"predictions": [{"scores": [87.5, 10, 2.5]}]}, {}, "87.5, which is no probability"),
        ({"predictions": [{"scores": [-0.5, 1, 0.5]}]}, {}, "-0.5, which is no probability"),
        (["bird"], LABEL, "class bird that 'classes' does not name"),
        ([3], LABEL, "class 3; classes 0 to 2"),
        ([-1], LABEL, "class -1; classes 0 to 2"),
        ([1.0], LABEL, "class 1.0"),
        ([True], LABEL, "class True"),
        (["cat"], {**LABEL, "classes": ["cat", "dog", "cat"]}, "class cat .* or names twice"),
        ("dog", {**LABEL, "reply": ""}, "str where a list was promised"),
        (few(("dog", 0.5), ("dog", 0.25)), FEW, "2 classes, 1 of them different"),
        (few(("dog", 0.5), ("bird", 0.25)), FEW, "class bird"),
        (few(("dog", 1.0)), {"reply": PAIR}, "scores of 1 of 3 classes"),
        ({"predictions": [{"labels": [0, 1], "scores": [1.0]}]},
         {"scores": "topk", "reply": {"classes": "predictions.*.labels",
                                      "scores": "predictions.*.scores"}}, "beside 1 scores"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_malformed_replies_are_unusable(reply, changes, message):
    with pytest.raises(Unusable, match=message):
        scores(reply, **changes)


@pytest.mark.parametrize("raw", [b"", b"<html>", b'{"predictions": [', b"\xff", b"[" * 100_000])
def test_replies_that_are_no_json(raw):
    with pytest.raises(Unusable, match="not JSON"):
        read_reply(raw, 1, adapter())


def test_rows_of_several_lengths():
    reply = {"predictions": [{"scores": [1, 0, 0]}, {"scores": [1, 0]}]}
    with pytest.raises(Unusable, match="several lengths"):
        scores(reply, 2)


def test_the_page_shows_adapters_that_are_read(tmp_path):
    page = Path(__file__).resolve().parents[1] / "docs" / "http.md"
    (tmp_path / "names.txt").write_text("\n".join(map(str, range(10))))
    (tmp_path / "words.txt").write_text("the\ncat\n")
    shown = re.findall(r"```json\n(.*?)```", page.read_text(), flags=re.S)
    assert len(shown) == 3
    for text in shown:
        (tmp_path / "api.json").write_text(text)
        read_adapter(tmp_path / "api.json")
    fields = "\n".join(line.split("|")[1] for line in page.read_text().splitlines() if "|" in line)
    assert all(f"`{name}`" in fields for name in Adapter.model_fields)
