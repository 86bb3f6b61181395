"""The published image tasks: their files read rightly, damaged ones named."""

import gzip
import hashlib
import io
import struct
import tarfile
import time
import zipfile

import numpy as np
import pytest
from PIL import Image

from reprogram import tasks
from reprogram.tasks.cifar10 import CLASSES
from reprogram.tasks.mnist import read_idx
from reprogram.types import UserError

GENERATOR = np.random.default_rng(0)


def idx(array):
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty $REPROGRAM_DATA beside an empty cache; nothing is downloaded."""
    monkeypatch.setenv("REPROGRAM_DATA", str(tmp_path))
    monkeypatch.setattr("reprogram.files.cache_folder", lambda: tmp_path / "cache")

    def refused(url, *_):
        raise UserError(f"would download {url}")

    monkeypatch.setattr("reprogram.files._download", refused)
    return tmp_path


@pytest.fixture
def digits(folder):
    """200 training and 40 test images in the four files."""
    (folder / "mnist").mkdir()
    for part, count in (("train", 200), ("t10k", 40)):
        images = GENERATOR.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            path = folder / "mnist" / f"{part}-{kind}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(array)))
    return folder / "mnist"


def test_mnist_of_idx_files(digits):
    task = tasks.load("mnist")
    assert task.spec.classes == tuple("0123456789") and task.spec.input.shape == (1, 28, 28)
    assert [len(s) for s in (task.train, task.validation, task.test)] == [160, 40, 40]
    images = read_idx(digits / "t10k-images-idx3-ubyte.gz")
    assert np.array_equal(task.test.inputs[:, 0].numpy(), images)
    assert task.test.targets.tolist() == [i % 10 for i in range(40)]
    assert task.test.rows[7] == "mnist:test[7]"


def test_mnist_of_npz_parts_is_the_same(digits):
    plain = tasks.load("mnist")
    images = read_idx(digits / "train-images-idx3-ubyte.gz")
    labels = read_idx(digits / "train-labels-idx1-ubyte.gz")
    for i in range(4):
        part = slice(50 * i, 50 * i + 50)
        np.savez(digits / f"train_images_{i}of4.npz", x=images[part], y=labels[part])
    (digits / "train-images-idx3-ubyte.gz").unlink()
    parts = tasks.load("mnist")
    assert parts.train.rows == plain.train.rows
    assert np.array_equal(parts.train.inputs, plain.train.inputs)


@pytest.mark.parametrize(
    ("damage", "told"),
    [(lambda raw: raw[:-9], "cannot be read as gzip"),
     (lambda raw: b"GIF89a" + raw, "cannot be read as gzip"),
     (lambda raw: gzip.compress(gzip.decompress(raw)[:-5]), "cut off"),
     (lambda raw: gzip.compress(gzip.decompress(raw)[:9]), "cut off"),
     (lambda raw: gzip.compress(b"\0\0\x0d" + gzip.decompress(raw)[3:]), "no idx file of bytes"),
     (lambda raw: gzip.compress(b""), "no idx file of bytes"),
     (lambda raw: gzip.compress(idx(np.zeros((200, 27, 28), np.uint8))), "200 labels")],
)  # fmt: skip
def test_damaged_digits(damage, told, digits):
    path = digits / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=told) as caught:
        tasks.load("mnist")
    assert "\n" not in str(caught.value)


def test_pickled_parts_are_refused(digits):
    for i in range(4):
        np.savez(digits / f"train_images_{i}of4.npz", x=np.array([{}], object), y=np.zeros(1))
    with pytest.raises(UserError, match=r"train_images_0of4.npz cannot be read"):
        tasks.load("mnist")


def test_what_is_absent_is_asked_for(folder):
    with pytest.raises(UserError, match=r"download https://.*/train-images-idx3-ubyte.gz"):
        tasks.load("mnist")
    with pytest.raises(UserError, match=r"download https://.*/cifar-10-binary.tar.gz"):
        tasks.load("cifar10")


def batches(count=20, last=9):
    """Five training batches and one of test, each of ``count`` records."""
    made = {}
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        labels = np.minimum(np.arange(count) % 10, last).astype(np.uint8)
        pixels = GENERATOR.integers(0, 256, (count, 3072), dtype=np.uint8)
        made[name] = np.concatenate([labels[:, None], pixels], 1)
    return made


def archive(folder, made):
    (folder / "cifar10").mkdir(exist_ok=True)
    with tarfile.open(folder / "cifar10" / "cifar-10-binary.tar.gz", "w:gz") as file:
        for name, records in made.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = records.nbytes
            file.addfile(info, io.BytesIO(records.tobytes()))


def test_cifar10_of_the_binary_archive(folder):
    made = batches()
    archive(folder, made)
    task = tasks.load("cifar10")
    assert task.spec.classes == CLASSES and task.spec.input.shape == (3, 32, 32)
    assert [len(s) for s in (task.train, task.test)] == [100 - 20 * bool(task.validation), 20]
    assert np.array_equal(task.test.inputs.reshape(20, -1), made["test_batch.bin"][:, 1:])
    assert task.notes == () or not any("JPEG" in note for note in task.notes)


def test_cifar10_damaged(folder):
    made = batches()
    made["data_batch_3.bin"] = made["data_batch_3.bin"].reshape(-1)[:-4]
    archive(folder, made)
    with pytest.raises(UserError, match=r"data_batch_3.bin holds 61456 bytes, no whole number"):
        tasks.load("cifar10")
    made = batches()
    made["test_batch.bin"][3, 0] = 77
    archive(folder, made)
    with pytest.raises(UserError, match=r"a test record has label 77"):
        tasks.load("cifar10")
    del made["test_batch.bin"]
    archive(folder, made)
    with pytest.raises(UserError, match=r"holds no test_batch.bin"):
        tasks.load("cifar10")
    path = folder / "cifar10" / "cifar-10-binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"cannot be read as the binary CIFAR-10 archive"):
        tasks.load("cifar10")


def test_cifar10_of_zips(folder):
    (folder / "cifar10_jpg").mkdir()
    for part, count in (("train", 6), ("test", 2)):
        for name in CLASSES:
            with zipfile.ZipFile(folder / "cifar10_jpg" / f"{part}_{name}.zip", "w") as file:
                for i in range(count):
                    pixels = GENERATOR.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                    buffer = io.BytesIO()
                    Image.fromarray(pixels).save(buffer, "PNG")
                    file.writestr(f"{part}/{name}/{i}.png", buffer.getvalue())
    task = tasks.load("cifar10")
    assert task.spec.classes == CLASSES and len(task.test) == 20
    assert "JPEG-coded sub-sample" in task.notes[0]
    assert task.test.rows[2] == "cifar10:test/automobile/0.png"
    (folder / "cifar10_jpg" / "test_cat.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"test_cat.zip cannot be read"):
        tasks.load("cifar10")


@pytest.fixture
def unchecked(monkeypatch):
    """Files of the tests' own in place of the published ones."""
    monkeypatch.setattr("reprogram.files._check", lambda *_: None)


def transactions(folder, columns=30, classes="01"):
    (folder / "creditcard_fraud").mkdir(exist_ok=True)
    lines = [",".join(["", *(f"V{i}" for i in range(columns)), "Class"])]
    for i in range(100):
        values = [str(j + (i % 90)) for j in range(columns)]  # the last ten repeat the first
        lines.append(",".join([str(i), *values, classes[i % 90 % 3 == 0]]))
    (folder / "creditcard_fraud" / "creditcard_sample.csv").write_text("\n".join(lines))


def test_fraud(folder, unchecked):
    transactions(folder)
    task = tasks.load("fraud")
    assert task.spec.classes == ("normal", "fraud") and task.spec.input.shape == (30,)
    assert "10 repeated rows" in task.notes[0]
    for split in (task.train, task.test):
        for i, row in enumerate(split.rows):
            origin = int(row[6:-1])
            assert split.inputs[i, 0] == origin and split.targets[i] == (origin % 3 == 0)
    transactions(folder, columns=29)
    with pytest.raises(UserError, match=r"has 29 columns of numbers beside 'Class', expected 30"):
        tasks.load("fraud")
    transactions(folder, classes="02")
    with pytest.raises(UserError, match=r"expected 30 and classes 0 and 1"):
        tasks.load("fraud")


def xrays(folder, **changed):
    parts = {"train": 40, "val": 10, "test": 10}
    arrays = {}
    for part, count in parts.items():
        arrays[f"{part}_images"] = GENERATOR.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = (np.arange(count) % 2).astype(np.uint8)[:, None]
    (folder / "medmnist").mkdir(exist_ok=True)
    np.savez(folder / "medmnist" / "pneumoniamnist.npz", **{**arrays, **changed})
    return arrays


def test_pneumonia(folder):
    arrays = xrays(folder)
    task = tasks.load("pneumonia")
    assert task.spec.classes == ("normal", "pneumonia") and task.notes == ()
    assert [len(s) for s in (task.train, task.validation, task.test)] == [40, 10, 10]
    assert np.array_equal(task.train.inputs[:, 0], arrays["train_images"])
    xrays(folder, test_labels=np.full((10, 1), 2, np.uint8))
    with pytest.raises(UserError, match=r"labels \[0, 1, 2\], expected images in three splits"):
        tasks.load("pneumonia")
    (folder / "medmnist" / "pneumoniamnist.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"pneumoniamnist.npz is no .npz of plain arrays"):
        tasks.load("pneumonia")


def characters(folder):
    """Two alphabets of three characters; every image is another."""
    (folder / "omniglot").mkdir()
    for i, alphabet in ((1, "Alpha"), (2, "Beta")):
        name = f"images_background_small{i}"
        with zipfile.ZipFile(folder / "omniglot" / f"{name}.zip", "w") as file:
            for character in range(3):
                for drawer in range(20):
                    pixels = GENERATOR.integers(0, 2, (105, 105), dtype=np.uint8) * 255
                    buffer = io.BytesIO()
                    Image.fromarray(pixels).convert("1").save(buffer, "PNG")
                    place = f"{name}/{alphabet}/character{character:02}/{drawer:02}.png"
                    file.writestr(place, buffer.getvalue())


def test_omniglot(folder, unchecked):
    characters(folder)
    task = tasks.load("omniglot?ways=4&shots=3")
    assert task.spec.input.shape == (1, 105, 105) and task.validation is None
    assert task.spec.counts == (3,) * 4 and task.test.targets.bincount().tolist() == [17] * 4
    assert not {*task.train.rows} & {*task.test.rows}
    assert set(task.train.inputs.unique().tolist()) == {0, 255}
    again = tasks.load("omniglot?ways=4&shots=3")
    assert again.train.rows == task.train.rows
    others = {tasks.load("omniglot?ways=4&shots=3", seed=seed).train.rows for seed in range(4)}
    assert len(others) == 4
    one = tasks.load("omniglot?ways=3&shots=1&alphabet=Beta")
    assert one.spec.classes == ("Beta/character00", "Beta/character01", "Beta/character02")
    assert len(one.train) == 3 and len(one.test) == 57


@pytest.mark.parametrize(
    ("options", "told"),
    [("ways=1", "'ways' is 1; the alphabets have 6 characters: pass 2 to 6"),
     ("ways=7", "'ways' is 7"), ("ways=4&alphabet=Beta", "alphabet 'Beta' has 3 characters"),
     ("ways=2&shots=0", "'shots' is 0"), ("ways=2&shots=20", "'shots' is 20; .* 1 to 19"),
     ("alphabet=Bet", "unknown alphabet 'Bet'; did you mean 'Beta'"),
     ("shots=few", "'shots' is 'few'; pass a whole number")],
)  # fmt: skip
def test_omniglot_refuses(options, told, folder, unchecked):
    characters(folder)
    with pytest.raises(UserError, match=told):
        tasks.load(f"omniglot?{options}")


def test_the_real_digits(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    start = time.perf_counter()
    task = tasks.load("mnist")
    assert time.perf_counter() - start < 10
    assert [len(s) for s in (task.train, task.validation, task.test)] == [48000, 12000, 10000]
    # back in the order of the file, they are the published bytes
    order = {row: i for i, row in enumerate((*task.train.rows, *task.validation.rows))}
    pixels = np.concatenate([task.train.inputs, task.validation.inputs])
    pixels = pixels[[order[f"mnist:train[{i}]"] for i in range(60000)], 0]
    digest = hashlib.md5(idx(pixels), usedforsecurity=False).hexdigest()
    assert digest == "6bbc9ace898e44ae57da46a324031adb"


def test_the_real_photographs(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    task = tasks.load("cifar10")
    assert task.spec.classes == CLASSES and len(task.test) >= 2000
    assert task.spec.input.mean == pytest.approx(0.473, abs=0.01)  # of the published training set


def test_the_real_small_sets(data_root, monkeypatch):
    monkeypatch.setenv("REPROGRAM_DATA", str(data_root))
    fraud = tasks.load("fraud")
    assert [len(s) for s in (fraud.train, fraud.validation, fraud.test)] == [1090, 272, 341]
    total = sum(int((s.targets == 1).sum()) for s in (fraud.train, fraud.validation, fraud.test))
    assert total == 473  # of 492, without the repeated rows
    xray = tasks.load("pneumonia")
    assert (len(xray.validation), len(xray.test)) == (524, 624)
    assert sum(xray.spec.counts) == 4698  # of 4,708; ten also stand in validation or test
    greek = tasks.load("omniglot?ways=24&shots=5&alphabet=Greek")
    assert len(greek.train) == 120 and len(greek.test) == 360
