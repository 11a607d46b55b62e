"""Which image files are read, recognized by their content, and within which bounds. App and trainer share these rules."""

from dataclasses import dataclass

MAX_FILE_BYTES = 200_000_000
MAX_PIXELS = 108_000_000  # 12000x9000, the largest photos of common phones and cameras; decoded, 432 MB
HEAD_BYTES = 256  # the start of a file, enough to recognize its format
OPTIONAL_FORMATS = "requirements-images.txt"


class UnusableImage(ValueError):
    """An image file that is not read. The message is a predicate that follows the file's name: "is not an image; …"."""


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """A format: Pillow's name, the file name extensions, and the module that adds it to Pillow ("" if Pillow has it)."""

    name: str
    extensions: tuple[str, ...]
    plugin: str = ""


PNG = ImageFormat(name="PNG", extensions=(".png",))
JPEG = ImageFormat(name="JPEG", extensions=(".jpg", ".jpeg"))  # Pillow reads MPO, the JPEG files of two-lens cameras, as JPEG
WEBP = ImageFormat(name="WEBP", extensions=(".webp",))
BMP = ImageFormat(name="BMP", extensions=(".bmp",))
GIF = ImageFormat(name="GIF", extensions=(".gif",))
TIFF = ImageFormat(name="TIFF", extensions=(".tif", ".tiff"))
AVIF = ImageFormat(name="AVIF", extensions=(".avif",))
HEIF = ImageFormat(name="HEIF", extensions=(".heic", ".heif"), plugin="pi_heif")
JXL = ImageFormat(name="JXL", extensions=(".jxl",), plugin="pillow_jxl")
FORMATS = (PNG, JPEG, WEBP, BMP, GIF, TIFF, AVIF, HEIF, JXL)
_MAIN_EXTENSIONS = [image_format.extensions[0] for image_format in FORMATS]
EXTENSIONS_TEXT = f"{', '.join(_MAIN_EXTENSIONS[:-1])} or {_MAIN_EXTENSIONS[-1]}"  # one per format, for messages

JXL_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_STARTS = {
    b"\x89PNG\r\n\x1a\n": PNG, b"\xff\xd8\xff": JPEG, b"BM": BMP, b"GIF87a": GIF, b"GIF89a": GIF, b"II*\0": TIFF, b"MM\0*": TIFF,
    b"II+\0": TIFF, b"MM\0+": TIFF, b"\xff\x0a": JXL, JXL_CONTAINER: JXL,
}  # fmt: skip
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
# Formats that are never opened because their decoders run a program or render a document, and formats that users mistake for images.
_OTHERS = {
    b"%!": "a PostScript (EPS) file", b"\xc5\xd0\xd3\xc6": "a PostScript (EPS) file", b"%PDF": "a PDF file", b"8BPS": "a Photoshop file",
    b"\0\0\0\x0cjP  \r\n": "a JPEG 2000 file", b"<svg": "an SVG file", b"<?xml": "an XML or SVG file", b"<!DOCTYPE html": "a web page",
    b"<html": "a web page", b"version https://git-lfs": "a Git LFS pointer without the image", b"PK\x03\x04": "a ZIP archive",
}  # fmt: skip


def format_of(head: bytes) -> ImageFormat:
    """Return the format of a file that begins with these bytes (HEAD_BYTES, or the whole file).

    Raises:
        UnusableImage: For any other file.
    """
    for start, image_format in _STARTS.items():
        if head.startswith(start):
            return image_format
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return WEBP
    if head[4:8] == b"ftyp" and (brand_format := _format_of_brands(head)):
        return brand_format
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    other_format = next((words for start, words in _OTHERS.items() if head.startswith(start) or text.startswith(start.lower())), None)
    raise UnusableImage(
        f"is {other_format}, not an image; save it as .png or .jpg." if other_format else "is not an image; save it as a real .png or .jpg."
    )


def _format_of_brands(head: bytes) -> ImageFormat | None:
    """Return the format that the first box of an ISO media file names, its main brand first."""
    brands = [head[8:12], *(head[start : start + 4] for start in range(16, min(int.from_bytes(head[:4], "big"), len(head)), 4))]
    if _AVIF_BRANDS & set(brands):
        return AVIF
    return HEIF if _HEIF_BRANDS & set(brands) else None


def check_pixels(width: int, height: int) -> None:
    """Raise UnusableImage if an image of this size is too large to be decoded."""
    if width < 1 or height < 1:
        raise UnusableImage(f"has {width}x{height} pixels, so there is nothing in it; save it again.")
    if width * height > MAX_PIXELS:
        raise UnusableImage(f"has {width}x{height} pixels, more than {MAX_PIXELS // 1_000_000} million; make it smaller.")


def check_file_size(num_bytes: int) -> None:
    """Raise UnusableImage if a file of this many bytes is too large to be read."""
    if not num_bytes:
        raise UnusableImage("is empty; copy it again.")
    if num_bytes > MAX_FILE_BYTES:
        raise UnusableImage(f"is larger than {MAX_FILE_BYTES // 10**6} MB; make it smaller.")


def missing_plugin(image_format: ImageFormat) -> UnusableImage:
    """Return the error for a format whose plugin is not installed, with the command that installs it."""
    if image_format is JXL:
        return UnusableImage(
            f"is a JPEG XL image. To read those, run: .venv/bin/python -m pip install -r {OPTIONAL_FORMATS}. Or save it as .png or .jpg."
        )
    return UnusableImage("is a HEIC image. To read those, run: .venv/bin/python -m pip install -r requirements.txt. Or save it as .jpg.")
