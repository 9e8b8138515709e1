"""Reading and preparing: every kind of file gives upright RGB or gray, every bad one an ImageError."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from ghostfit.vision.prepare import MAX_PIXELS, ImageError, Prepare, prepare_batch, read_image

RANDOM = np.random.default_rng(0)
PHOTO = RANDOM.integers(0, 256, (20, 30, 3), np.uint8)


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_the_same_pixels_from_every_source(tmp_path):
    content = encode(Image.fromarray(PHOTO))
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    for source in (path, str(path), content, PHOTO, Image.fromarray(PHOTO)):
        np.testing.assert_array_equal(read_image(source), PHOTO)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I"])
def test_every_mode_becomes_rgb_and_gray(mode):
    image = (
        Image.fromarray(PHOTO).convert(mode)
        if not mode.startswith("I")
        else Image.fromarray((PHOTO[:, :, 0].astype(np.uint16) << 8) + 255)
    )
    image = image.convert("I") if mode == "I" else image
    assert read_image(image).shape == (20, 30, 3)
    assert read_image(image, in_channels=1).shape == (20, 30, 1)
    assert read_image(image).dtype == np.uint8


def test_sixteen_bits_keep_their_high_byte():
    gray = PHOTO[:, :, 0]
    file = encode(Image.fromarray((gray.astype(np.uint16) << 8) + 17))
    np.testing.assert_array_equal(read_image(file, in_channels=1)[:, :, 0], gray)
    np.testing.assert_array_equal(read_image((gray.astype(np.uint16) << 8) + 200)[:, :, 1], gray)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_a_range_keep_256_steps(kind):
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # 12 bits, as many cameras have
    prepare = Prepare(size_hw=(64, 64), in_channels=1, mean=(0.0,), std=(1.0,), range_16=(0, 4095))
    for source in (encode(Image.fromarray(values), kind), values):
        np.testing.assert_array_equal(prepare.read(source)[:, :, 0], values >> 4)
        assert len(np.unique(read_image(source))) == 16
    cut = read_image(values, in_channels=1, range_16=(1000, 1255))[:, :, 0]
    np.testing.assert_array_equal(cut, np.clip(values.astype(int) - 1000, 0, 255))
    assert Prepare.from_dict(prepare.to_dict()) == prepare and prepare.to_dict()["range_16"] == [0, 4095]
    assert "range_16" not in Prepare(size_hw=(64, 64)).to_dict()  # manifests from before it stay as they were
    np.testing.assert_array_equal(read_image(PHOTO, range_16=(0, 4095)), PHOTO)


@pytest.mark.parametrize("range_16", [(5, 5), (9, 3), (-1, 5), (0, 65536), (1, 2, 3)])
def test_ranges_that_are_none(range_16):
    with pytest.raises(ValueError, match="wanted two whole numbers"):
        Prepare(size_hw=(8, 8), range_16=range_16)


def test_transparency_lies_over_white():
    clear = np.zeros((4, 4, 4), np.uint8)
    np.testing.assert_array_equal(read_image(clear), np.full((4, 4, 3), 255))
    np.testing.assert_array_equal(read_image(encode(Image.fromarray(clear))), np.full((4, 4, 3), 255))
    palette = Image.new("P", (4, 4), 0)
    np.testing.assert_array_equal(read_image(encode(palette, transparency=0)), np.full((4, 4, 3), 255))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation):
    turned = Image.fromarray(PHOTO)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encode(turned, exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))))
    np.testing.assert_array_equal(read_image(file), expected)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_lose_the_picture():
    file = encode(Image.fromarray(PHOTO), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_image(file).shape == PHOTO.shape


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "PPM"])
def test_truncated_and_empty_files_are_refused(kind):
    noise = RANDOM.integers(0, 256, (200, 200, 3), np.uint8)
    file = encode(Image.fromarray(noise), kind)
    for broken in (file[: len(file) // 2], file[:10], b""):
        with pytest.raises(ImageError):
            read_image(broken)


def test_files_that_are_no_images_are_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path)
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    with pytest.raises(ImageError, match=r"text\.jpg: not an image"):
        read_image(text)
    with pytest.raises(ImageError, match="not an image"):  # would start Ghostscript
        read_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


def test_decompression_bombs_are_refused_before_decoding():
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(ImageError):
        read_image(bomb)
    wide = np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (MAX_PIXELS + 1, 1), (0, 0))
    with pytest.raises(ImageError, match="at most"):
        read_image(wide)


@pytest.mark.parametrize("seed", range(60))
def test_flipped_bytes_give_pixels_or_an_image_error(seed):
    random = np.random.default_rng(seed)
    kind = ["JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"][seed % 6]
    file = bytearray(encode(Image.fromarray(PHOTO), kind))
    for place in random.integers(0, len(file), 8):
        file[place] = random.integers(0, 256)
    with contextlib.suppress(ImageError):
        assert read_image(bytes(file)).dtype == np.uint8


@pytest.mark.parametrize("array", [np.zeros((4, 4), np.float32), np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8)])
def test_wrong_arrays_are_refused(array):
    with pytest.raises(ImageError):
        read_image(array)


def test_arrays_of_more_channels_pass_when_wanted():
    many = RANDOM.integers(0, 256, (9, 8, 6), np.uint8)
    np.testing.assert_array_equal(read_image(many, in_channels=6), many)
    prepare = Prepare(size_hw=(4, 4), in_channels=6, mean=(0.5,) * 6, std=(0.5,) * 6)
    assert prepare(many).shape == (6, 4, 4)
    with pytest.raises(ImageError, match="channels"):
        read_image(many)


@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (7, 300), (300, 7), (1, 1), (16, 24), (2, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_shape_comes_to_size(resize, shape, channels):
    image = np.full((*shape, channels), 100, np.uint8)
    prepare = Prepare(
        size_hw=(16, 24),
        resize=resize,
        crop_pct=0.875 if resize == "crop" else 1.0,
        in_channels=channels,
        mean=(100 / 255,) * channels,
        std=(0.25,) * channels,
    )
    values = prepare(image)
    assert values.shape == (channels, 16, 24)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, 0, atol=1e-6)  # letterbox pads with the mean, which is 100 here


def test_crop_equals_torchvision_rule():
    """Short side to 256, long side floored, centre 224: the pixels of Resize(256) + CenterCrop(224)."""
    image = RANDOM.integers(0, 256, (301, 407, 3), np.uint8)
    prepare = Prepare(size_hw=(224, 224), resize="crop", crop_pct=0.875, interpolation="bicubic")
    long_side = int(256 * 407 / 301)
    whole = np.asarray(Image.fromarray(image).resize((long_side, 256), Image.Resampling.BICUBIC))
    left = round((long_side - 224) / 2)
    np.testing.assert_array_equal(prepare.resized(image), whole[16:240, left : left + 224])


def test_normalising_is_exact_and_batches_agree():
    prepare = Prepare(size_hw=(20, 30))
    expected = (PHOTO / 255 - np.array(prepare.mean)) / np.array(prepare.std)
    np.testing.assert_allclose(prepare(PHOTO), expected.transpose(2, 0, 1), atol=1e-6)
    batch = prepare_batch([PHOTO, PHOTO[:10]], prepare)
    np.testing.assert_array_equal(batch[0], prepare(PHOTO))
    np.testing.assert_array_equal(batch[1], prepare(PHOTO[:10]))
    assert prepare_batch([], prepare).shape == (0, 3, 20, 30)


def test_preparing_leaves_the_image_alone():
    kept = PHOTO.copy()
    Prepare(size_hw=(20, 30))(PHOTO)
    Prepare(size_hw=(8, 8), resize="letterbox")(PHOTO)
    np.testing.assert_array_equal(PHOTO, kept)


RULES = [{"resize": "squash"}, {"resize": "letterbox"}, {"resize": "crop"}, {"resize": "crop", "crop_pct": 0.8}]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: "-".join(map(str, rule.values())))
@pytest.mark.parametrize("image_hw", [(60, 90), (90, 60), (48, 64), (31, 77), (200, 150)])
def test_a_box_and_its_map_go_where_the_pixels_go(rule, image_hw):
    prepare = Prepare(size_hw=(48, 64), mean=(0.0,) * 3, **rule)
    height, width = image_hw
    box = np.array([width * 0.4, height * 0.35, width * 0.65, height * 0.7]).round()
    left, top, right, bottom = box.astype(int)
    class_map = np.zeros(image_hw, np.uint8)
    class_map[top:bottom, left:right] = 1
    placement = prepare.placement(image_hw)
    pixels = prepare.resized(np.repeat(class_map[:, :, None] * np.uint8(255), 3, axis=2))[:, :, 0] / 255
    moved = placement.to_input(box)
    middle = (pixels.sum(0) @ (np.arange(64) + 0.5), pixels.sum(1) @ (np.arange(48) + 0.5)) / pixels.sum()
    np.testing.assert_allclose((moved[:2] + moved[2:]) / 2, middle, atol=0.1)
    area = (moved[2] - moved[0]) * (moved[3] - moved[1])
    assert abs(pixels.sum() - area) < 0.06 * area
    np.testing.assert_allclose(placement.to_image(moved), box, atol=1e-4)
    known = placement.map_to_input(class_map, fill=255)
    assert known.shape == (48, 64) and known.dtype == np.uint8
    inside = known != 255
    assert np.abs((known == 1) - pixels)[inside].mean() < 0.03
    bars = prepare.resized(np.full((*image_hw, 3), 255, np.uint8))[:, :, 0] == 0
    np.testing.assert_array_equal(bars, ~inside)


def test_boxes_of_the_bars_end_at_the_image():
    placement = Prepare(size_hw=(32, 32), resize="letterbox").placement((50, 100))
    assert placement.to_image(np.array([[-5.0, 0, 50, 12], [0, 30, 3, 32]])).tolist() == [
        [0, 0, 100, 12.5],
        [0, 50, 9.375, 50],
    ]
    assert placement.to_image(np.zeros((0, 4))).shape == (0, 4)
    with pytest.raises(ValueError, match="sizes must agree"):
        placement.map_to_input(np.zeros((9, 9), np.uint8), fill=255)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_hw": (0, 4)}, "size_hw"),
        ({"size_hw": (4.0, 4)}, "integer"),
        ({"size_hw": 8}, "not a preparation"),
        ({"resize": "stretch"}, "squash, crop, letterbox"),
        ({"interpolation": "lanczos"}, "bilinear, bicubic"),
        ({"crop_pct": 0.5}, "belongs to 'crop'"),
        ({"resize": "crop", "crop_pct": 0.0}, "0..1"),
        ({"mean": (0.5,)}, "1 means"),
        ({"std": (0.0, 1.0, 1.0)}, "above zero"),
        ({"mean": (float("nan"), 0.0, 0.0)}, "finite"),
        ({"mean": ("red", 0.0, 0.0)}, "not a preparation"),
        ({"colour": "BGR"}, "colour"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Prepare.from_dict({"size_hw": [8, 8], **changes})


def test_wrong_images_are_refused():
    with pytest.raises(ImageError, match="as read_image gives"):
        Prepare(size_hw=(8, 8))(np.zeros((8, 8), np.uint8))
    with pytest.raises(ImageError):
        Prepare(size_hw=(8, 8))(np.zeros((8, 8, 3), np.float32))
