"""Sizes read from headers are those that the decoders find."""

import io

import pillow_jxl  # noqa: F401 (adds JPEG XL to Pillow)
import pytest
from PIL import Image

from fluxgym.contract.images.formats import JXL, PNG, WEBP, UnusableImage
from fluxgym.contract.images.headers import header_size

SIZES = [
    (1, 1),
    (8, 8),
    (256, 256),
    (257, 255),
    (640, 480),
    (480, 640),
    (300, 200),
    (160, 90),
    (250, 200),
    (9000, 3),
    (3, 9000),
    (512, 1024),
]


def saved(size, image_format, **options):
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert(options.pop("mode", "RGB")).save(buffer, image_format, **options)
    return buffer


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"mode": "RGBA"}, {"exif": b"Exif\0\0MM\0*"}])
def test_header_size_of_webp_equals_decoder(size, options):
    assert header_size(saved(size, "WEBP", **options), WEBP) == size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"use_container": True}, {"use_container": True, "exif": b"MM\0*" * 20}])
def test_header_size_of_jpeg_xl_equals_decoder(size, options):
    assert header_size(saved(size, "JXL", effort=1, **options), JXL) == size


def test_header_size_of_packed_jpeg_equals_jpeg(tmp_path):
    (tmp_path / "a.jpg").write_bytes(saved((90, 60), "JPEG").getvalue())
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.jxl", lossless_jpeg=True)
    with (tmp_path / "a.jxl").open("rb") as file:
        assert header_size(file, JXL) == (90, 60)


@pytest.mark.parametrize(("image_format", "name"), [(WEBP, "WEBP"), (JXL, "JXL")])
def test_header_size_of_damaged_header_is_refused(image_format, name):
    whole = saved((90, 60), name).getvalue()
    for length in (0, 2, 12, 15):
        with pytest.raises(UnusableImage, match="damaged"):
            header_size(io.BytesIO(whole[:length]), image_format)
    for odd in (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\1free" * 9):
        with pytest.raises(UnusableImage, match="damaged"):
            header_size(io.BytesIO(odd), JXL)


def test_header_size_of_another_format_is_left_to_its_decoder():
    assert header_size(saved((90, 60), "PNG"), PNG) is None
