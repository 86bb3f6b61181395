"""Files of every mode, made with PIL: the exact pixels that come out, or one line that says why."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from reprogram import tasks
from reprogram.tasks.images import decode
from reprogram.types import UserError

RED, GREEN, BLUE, WHITE, BLACK = (
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
)  # fmt: skip


def pixels(path, channels=3):
    """(height, width, channels) as the task will hold them."""
    with Image.open(path) as image:
        size = image.size[::-1]
    return decode(path, channels, size).permute(1, 2, 0).numpy()


def palette_image(transparency=None):
    image = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    image.putpalette([*RED, *GREEN, *BLUE, 10, 20, 30])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize("suffix", [".png", ".gif", ".tif", ".bmp"])
def test_palette(suffix, tmp_path):
    """The colours, not the indices."""
    palette_image().save(tmp_path / f"x{suffix}")
    assert pixels(tmp_path / f"x{suffix}").tolist() == [
        [list(RED), list(GREEN)], [list(BLUE), [10, 20, 30]]
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_transparent_palette_entry(suffix, tmp_path):
    palette_image(1).save(tmp_path / f"x{suffix}", transparency=1)
    assert pixels(tmp_path / f"x{suffix}")[0].tolist() == [list(RED), list(WHITE)]


def test_palette_with_a_share_of_transparency(tmp_path):
    palette_image().save(tmp_path / "x.png", transparency=bytes([255, 0, 128, 255]))
    found = pixels(tmp_path / "x.png")
    assert found[0].tolist() == [list(RED), list(WHITE)]
    assert found[1, 0].tolist() == [127, 127, 255] and found[1, 1].tolist() == [10, 20, 30]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".gif"])
def test_one_bit(suffix, tmp_path):
    bits = np.array([[True, False, True], [False, False, True]])
    Image.fromarray(bits).save(tmp_path / f"x{suffix}")
    assert np.array_equal(pixels(tmp_path / f"x{suffix}", 1)[..., 0], bits * 255)
    assert np.array_equal(pixels(tmp_path / f"x{suffix}", 3), (bits * 255)[..., None].repeat(3, 2))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_of_grey(suffix, tmp_path):
    values = np.array([[0, 256, 257, 32768, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"x{suffix}")
    for channels in (1, 3):
        assert pixels(tmp_path / f"x{suffix}", channels)[0, :, 0].tolist() == [0, 0, 1, 127, 255]


def test_sixteen_bits_of_colour(tmp_path):
    """Which PIL cannot write, so the file is made by hand."""
    row = struct.pack(">6H", 65535, 257, 0, 0, 32896, 65535)  # two pixels

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    (tmp_path / "x.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")
    )  # fmt: skip
    assert pixels(tmp_path / "x.png").tolist() == [[[255, 1, 0], [0, 128, 255]]]


@pytest.mark.parametrize("values", [[-1, 5], [0, 70000]])
def test_values_of_more_bits_are_refused(values, tmp_path):
    Image.fromarray(np.array([values], np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(UserError, match=r"x.tif holds I-mode values, neither 8 nor 16 bits"):
        decode(tmp_path / "x.tif", 1, (1, 2))


INKS = {(0, 255, 255, 0): RED, (255, 0, 255, 0): GREEN, (255, 255, 0, 0): BLUE,
        (0, 0, 0, 0): WHITE, (0, 0, 0, 255): BLACK}  # fmt: skip


@pytest.mark.parametrize("suffix", [".tif", ".jpg"])
@pytest.mark.parametrize("ink", INKS)
def test_four_inks(suffix, ink, tmp_path):
    """CMYK: no ink is white. Photoshop's JPEG holds the inks inverted and says so (APP14)."""
    path = tmp_path / f"x{suffix}"
    Image.new("CMYK", (16, 16), ink).save(path, **({"quality": 100} if suffix == ".jpg" else {}))
    if suffix == ".jpg":
        assert b"Adobe" in path.read_bytes()
    found = pixels(path).reshape(-1, 3).astype(int)
    assert (abs(found - INKS[ink]) <= (2 if suffix == ".jpg" else 0)).all()


def test_transparency_by_its_share(tmp_path):
    colours = np.array([[[255, 0, 0, 255], [255, 0, 0, 128], [9, 9, 9, 0]]], np.uint8)
    Image.fromarray(colours).save(tmp_path / "x.png")
    expected = [list(RED), [255, 127, 127], list(WHITE)]
    assert pixels(tmp_path / "x.png").tolist() == [expected]
    grey = np.array([[[0, 255], [0, 128], [0, 0]]], np.uint8)
    Image.fromarray(grey, "LA").save(tmp_path / "g.png")
    assert pixels(tmp_path / "g.png", 1)[..., 0].tolist() == [[0, 127, 255]]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_first_frame(suffix, tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"x{suffix}", save_all=True, append_images=frames[1:], **options)
    assert (pixels(tmp_path / f"x{suffix}") == RED).all()


def test_one_folder_of_every_mode(tmp_path):
    """Together they make one task of colour images."""
    made = {
        "p.png": palette_image().resize((6, 6)), "b.png": Image.new("1", (6, 6), 1),
        "i.png": Image.fromarray(np.full((6, 6), 65535, np.uint16)),
        "c.jpg": Image.new("CMYK", (6, 6), (0, 0, 0, 0)), "a.png": Image.new("RGBA", (6, 6)),
        "l.png": Image.new("L", (6, 6), 255), "r.bmp": Image.new("RGB", (6, 6), WHITE),
    }  # fmt: skip
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file, image in made.items():
            image.save(tmp_path / name / file)
    reading = tasks.read(tmp_path, tasks.load(str(tmp_path)).spec)
    assert reading.inputs.shape == (14, 3, 6, 6)
    for row, found in zip(reading.rows, reading.inputs, strict=True):
        assert row.endswith("p.png") or (found >= 254).all(), row


@pytest.mark.parametrize("mode", ["1", "P", "L", "RGBA", "CMYK", "I;16"])
def test_damage_in_any_mode_is_one_line(mode, tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(values).convert(mode)
    path = tmp_path / ("x.jpg" if mode == "CMYK" else "x.png")
    image.save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"cannot be read as an image .* remove") as caught:
        decode(path, 3, (64, 64))
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
