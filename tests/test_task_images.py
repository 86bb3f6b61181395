"""Folders of images: every format one shape, every broken file named."""

import numpy as np
import pytest
import torch
from PIL import Image

from reprogram import tasks
from reprogram.tasks import images
from reprogram.tasks.images import decode
from reprogram.types import InputSpec, TaskSpec, UserError

GENERATOR = np.random.default_rng(0)


def picture(height=6, width=8, mode="RGB"):
    pixels = GENERATOR.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def fill(folder, count=4, *, suffix=".png", **size):
    folder.mkdir(parents=True)
    for i in range(count):
        picture(**size).save(folder / f"{i}{suffix}")


@pytest.fixture
def by_class(tmp_path):
    for name in ("cat", "dog"):
        fill(tmp_path / "pets" / name, 10)
    return tmp_path / "pets"


def test_folder_by_class(by_class):
    (by_class / "README.md").write_text("about")
    (by_class / "cat" / ".DS_Store").write_text("clutter")
    task = tasks.load(str(by_class))
    assert task.spec.classes == ("cat", "dog") and task.spec.input.shape == (3, 6, 8)
    assert len(task.train) + len(task.test) == 20
    for i, row in enumerate(task.train.rows):
        pixels = np.asarray(Image.open(by_class / row))
        x, y, _ = task.train.batch(torch.tensor([i]))
        assert np.allclose(x[0].permute(1, 2, 0) * 255, pixels)
        assert row.startswith(task.spec.classes[y.item()])


@pytest.mark.parametrize("names", [("train", "val", "test"), ("Train", "validation", "Test")])
def test_published_splits(names, tmp_path):
    for part, count in zip(names, (5, 3, 2), strict=True):
        for name in ("1", "10", "9"):
            fill(tmp_path / part / name, count)
    task = tasks.load(str(tmp_path))
    assert task.spec.classes == ("1", "9", "10")
    assert [len(s) for s in (task.train, task.validation, task.test)] == [15, 9, 6]
    assert {row.split("/")[0] for row in task.test.rows} == {names[2]}


def test_sizes_are_brought_together(tmp_path):
    fill(tmp_path / "a", 6, height=5, width=7)
    fill(tmp_path / "b", 3, height=9, width=4)
    assert tasks.load(str(tmp_path)).spec.input.shape == (3, 5, 7)
    for size, shape in ((4, (3, 4, 4)), ("6", (3, 6, 6)), ("4x5", (3, 4, 5)), ((2, 3), (3, 2, 3))):
        assert tasks.load(str(tmp_path), size=size).spec.input.shape == shape
    for size in ("big", 0, "3x", "1x2x3"):
        with pytest.raises(UserError, match="argument 'size' is"):
            tasks.load(str(tmp_path), size=size)


def test_grey_stays_grey(tmp_path):
    for name in "ab":
        fill(tmp_path / name, mode="L")
    assert tasks.load(str(tmp_path)).spec.input.shape == (1, 6, 8)
    picture().save(tmp_path / "a" / "colour.png")
    assert tasks.load(str(tmp_path)).spec.input.shape == (3, 6, 8)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", ".png"), ("L", ".jpg"), ("LA", ".png"), ("P", ".gif"), ("P", ".png"), ("RGBA", ".png"),
     ("CMYK", ".jpg"), ("CMYK", ".tif"), ("RGB", ".bmp"), ("RGB", ".webp"), ("YCbCr", ".jpg")],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_read(mode, suffix, channels, tmp_path):
    path = tmp_path / f"x{suffix}"
    image = picture(mode=mode)
    image.save(path)
    pixels = decode(path, channels, (6, 8))
    assert pixels.shape == (channels, 6, 8) and pixels.dtype == torch.uint8
    if suffix in (".png", ".bmp", ".tif", ".gif") and mode not in ("LA", "RGBA"):
        expected = np.asarray(Image.open(path).convert("L" if channels == 1 else "RGB"))
        assert np.array_equal(pixels.permute(1, 2, 0).numpy().squeeze(), expected)


def test_transparency_is_laid_on_white(tmp_path):
    for mode, colour in (("RGBA", (255, 0, 0, 0)), ("LA", (0, 0))):
        Image.new(mode, (2, 2), colour).save(tmp_path / "x.png")
        assert (decode(tmp_path / "x.png", 3, (2, 2)) == 255).all()
    Image.new("RGBA", (2, 2), (255, 0, 0, 255)).save(tmp_path / "x.png")
    assert decode(tmp_path / "x.png", 3, (2, 2))[:, 0, 0].tolist() == [255, 0, 0]


def test_sixteen_bits(tmp_path):
    values = np.array([[0, 257, 65535]], np.uint16)
    for suffix in (".png", ".tif"):
        Image.fromarray(values).save(tmp_path / f"x{suffix}")
        assert decode(tmp_path / f"x{suffix}", 1, (1, 3)).flatten().tolist() == [0, 1, 255]
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(UserError, match=r"f.tif holds F-mode values, neither 8 nor 16 bits"):
        decode(tmp_path / "f.tif", 1, (1, 3))


def test_orientation_is_applied(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(3):
            image = picture()
            exif = image.getexif()
            exif[0x0112] = 6
            image.save(tmp_path / name / f"{i}.jpg", exif=exif)
    assert tasks.load(str(tmp_path)).spec.input.shape == (3, 8, 6)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("L", (3, 3), value) for value in (10, 200)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert (decode(tmp_path / "x.gif", 1, (3, 3)) == 10).all()


def test_large_sets_stay_in_their_files(by_class, monkeypatch):
    held = tasks.load(str(by_class))
    monkeypatch.setattr(images, "HELD_BYTES", 10)
    lazy = tasks.load(str(by_class))
    assert isinstance(lazy.train.inputs, images.ImageFiles)
    assert lazy.spec == held.spec and lazy.train.rows == held.train.rows
    some = torch.tensor([3, 0])
    assert torch.equal(lazy.train.batch(some)[0], held.train.batch(some)[0])
    folds = lazy.folds(2, 0)
    assert [f.train.rows for f in folds] == [f.train.rows for f in held.folds(2, 0)]
    reading = tasks.read([by_class / "cat", by_class / "dog"], lazy.spec)
    assert len(reading.inputs) == 20


def test_duplicate_images_stand_on_one_side(tmp_path, monkeypatch):
    for limit in (images.HELD_BYTES, 0):
        root = tmp_path / str(limit)
        for name in "ab":
            fill(root / name, 10)
            for i in range(10):
                (root / name / f"copy{i}.png").write_bytes((root / name / f"{i}.png").read_bytes())
        monkeypatch.setattr(images, "HELD_BYTES", limit)
        task = tasks.load(str(root))
        assert not set(task.train.contents()) & set(task.test.contents())


def pets(*shape):
    return TaskSpec("pets", InputSpec("image", shape, 0.0, 1.0), ("cat", "dog"))


def test_images_to_predict(by_class, tmp_path):
    spec = pets(1, 4, 4)
    reading = tasks.read(by_class, spec)
    assert reading.inputs.shape == (20, 1, 4, 4) and reading.labels[:2] == ("cat", "cat")
    assert reading.rows[0] == "cat/0.png" and reading.targets.sum() == 10
    flat = tasks.read(by_class / "cat", pets(3, 6, 8))
    assert flat.rows[:2] == ("0.png", "1.png") and flat.labels is not None
    fill(tmp_path / "new", 3)
    new = tasks.read(str(tmp_path / "new"), spec)
    assert new.rows == ("0.png", "1.png", "2.png") and new.labels is None
    files = [tmp_path / "new" / "2.png", tmp_path / "new" / "0.png"]
    chosen = tasks.read(files, spec)
    assert chosen.rows == ("2.png", "0.png")
    assert torch.equal(chosen.inputs, new.inputs[[2, 0]])
    both = tasks.read([tmp_path / "new", by_class / "dog"], spec)
    assert len(set(both.rows)) == 13 and both.rows[0] == f"{tmp_path / 'new'}/0.png"


def test_broken_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"folder .*empty holds no class folders"):
        tasks.load(str(tmp_path / "empty"))
    with pytest.raises(UserError, match=r"folder .*empty holds no images"):
        tasks.read(tmp_path / "empty", pets(1, 4, 4))
    fill(tmp_path / "loose", 2)
    with pytest.raises(UserError, match=r"0.png stands in no class folder"):
        tasks.load(str(tmp_path / "loose"))
    fill(tmp_path / "hollow" / "a", 3)
    (tmp_path / "hollow" / "b").mkdir()
    with pytest.raises(UserError, match=r"class folder .*b holds no images"):
        tasks.load(str(tmp_path / "hollow"))
    fill(tmp_path / "few" / "a", 3)
    fill(tmp_path / "few" / "b", 1)
    with pytest.raises(UserError, match="class 'b' has one training sample"):
        tasks.load(str(tmp_path / "few"))


@pytest.mark.parametrize("broken", ["text", "truncated", "empty"])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".gif", ".bmp"])
def test_broken_image_is_named(broken, suffix, by_class):
    path = by_class / "dog" / f"broken{suffix}"
    picture(60, 80).save(path)
    raw = path.read_bytes()
    path.write_bytes(
        {"text": b"not an image", "truncated": raw[: len(raw) // 2], "empty": b""}[broken]
    )
    with pytest.raises(
        UserError, match=rf"file {path} cannot be read as an image .* remove"
    ) as caught:
        tasks.load(str(by_class))
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=rf"file {path} cannot be read"):
        tasks.read(path, pets(1, 4, 4))


def test_other_files_among_images(by_class):
    path = by_class / "cat" / "notes.txt"
    path.write_text("these are cats")
    with pytest.raises(
        UserError, match=rf"file {path} cannot be read as an image \(not an image\)"
    ):
        tasks.load(str(by_class))
