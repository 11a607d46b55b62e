"""Files are recognized by their content, and other files are refused with the name of their format."""

import pytest

from fluxgym.contract.images import formats
from fluxgym.contract.images.formats import UnusableImage, check_file_size, check_pixels, format_of
from tests.support.image_files import HEIC


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"\x89PNG\r\n\x1a\n", formats.PNG), (b"\xff\xd8\xff\xe0", formats.JPEG), (b"RIFF\0\0\0\0WEBPVP8 ", formats.WEBP), (b"BM\0\0", formats.BMP),
        (b"GIF87a", formats.GIF), (b"GIF89a", formats.GIF), (b"II*\0", formats.TIFF), (b"MM\0*", formats.TIFF), (b"\xff\x0a", formats.JXL),
        (b"\0\0\0\x0cJXL \r\n\x87\n", formats.JXL), (HEIC, formats.HEIF), (b"\0\0\0\x1cftypavif\0\0\0\0mif1", formats.AVIF),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif", formats.AVIF), (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", formats.HEIF),
    ],
)  # fmt: skip
def test_format_of_image_is_found_by_its_content(head, expected):
    assert format_of(head) is expected


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0", "a PostScript (EPS) file"), (b"\xc5\xd0\xd3\xc6\x20", "a PostScript (EPS) file"),
        (b"\n %!PS", "a PostScript (EPS) file"), (b"%PDF-1.7", "a PDF file"), (b"8BPS\0\1", "a Photoshop file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 file"), (b"<?xml version='1.0'?><svg", "an XML or SVG file"), (b"<!doctype html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"), (b"PK\3\4", "a ZIP archive"),
    ],
)  # fmt: skip
def test_format_of_another_file_is_refused_by_its_name(head, words):
    with pytest.raises(UnusableImage) as error:
        format_of(head)
    assert str(error.value).startswith(f"is {words}")


@pytest.mark.parametrize(
    "head", [b"", b"I am text", b"\0\0\0\x18ftypmp42\0\0\0\0isom", b"\x0a\x05\x01\x08", b"P6 8 8 255\n", b"\xd7\xcd\xc6\x9a"]
)
def test_format_of_anything_else_is_not_image(head):
    with pytest.raises(UnusableImage, match="is not an image"):
        format_of(head)


@pytest.mark.parametrize("size", [(12_000, 9000), (1, 1), (65_535, 1000)])
def test_check_pixels_within_bound_passes(size):
    check_pixels(*size)


@pytest.mark.parametrize(("size", "words"), [((10_400, 10_400), "10400x10400 pixels, more than 108 million"), ((0, 5), "nothing in it")])
def test_check_pixels_out_of_bounds_is_refused(size, words):
    with pytest.raises(UnusableImage, match=words):
        check_pixels(*size)


@pytest.mark.parametrize(("num_bytes", "words"), [(0, "empty"), (formats.MAX_FILE_BYTES + 1, "larger than 200 MB")])
def test_check_file_size_out_of_bounds_is_refused(num_bytes, words):
    check_file_size(formats.MAX_FILE_BYTES)
    with pytest.raises(UnusableImage, match=words):
        check_file_size(num_bytes)
