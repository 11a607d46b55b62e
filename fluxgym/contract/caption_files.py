"""Pairing of caption files with images, and the text of a caption that is trained. App and trainer share these rules."""

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from fluxgym.contract.control_characters import control_character_in
from fluxgym.contract.dataset_rules import is_image_name

CAPTION = ".txt"
CAPTION_EXTENSIONS = (CAPTION, ".caption")
FACE_NUMBERS = 4  # an image's name may end in _x_y_width_height of a face, which its caption's name may lack
# Files beside images that hold no image and no caption: caches and metadata of trainers, and what operating systems write.
COMPANIONS = (".npz", ".json", ".jsonl", ".toml", ".yaml", ".yml", ".safetensors", ".md", ".ini", ".db", ".lock")
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """The caption file of each image that has one, and the files of a folder that are not used.

    unused: caption files that no image uses. shared: pairs of images with one caption file. other_captions: files that would be captions
    with another extension. left_out: files that are neither images nor captions.
    """

    of: Mapping[str, str]
    unused: tuple[str, ...] = ()
    shared: tuple[tuple[str, str], ...] = ()
    other_captions: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class _Names:
    """Finds the files of a folder by their exact name, else by the only name that differs from it in case."""

    def __init__(self, names: Iterable[str]) -> None:
        self._exact = set(names)
        self._folded: dict[str, list[str]] = {}
        for name in self._exact:
            self._folded.setdefault(name.casefold(), []).append(name)

    def find(self, name: str) -> str | None:
        if name in self._exact:
            return name
        similar = self._folded.get(name.casefold(), [])
        return similar[0] if len(similar) == 1 else None


def pair_captions(names: Iterable[str], extension: str, *, fallback: str = "") -> Pairing:
    """Return which of a folder's files is the caption of which image.

    The caption of a.png is a.txt; else a.png.txt or a.txt.txt, which systems that hide file extensions make; else the caption file that
    belongs to the name without a face's position. Upper and lower case may differ. `fallback` is a second extension, tried for images
    without a caption of the first one.
    """
    images: list[str] = []
    rest: list[str] = []
    for name in sorted(names):
        (images if is_image_name(name) else rest).append(name)
    files, extensions = _Names(rest), [suffix for suffix in (extension, fallback) if suffix]
    of = {image: caption for image in images if (caption := _first(files, image, extensions)) is not None}
    used, captions = set(of.values()), tuple(suffix.casefold() for suffix in extensions)
    other = {caption for image in images if image not in of and (caption := _first(files, image, CAPTION_EXTENSIONS)) is not None} - used
    unused = [name for name in rest if name.casefold().endswith(captions) and name not in used]
    left_out = [name for name in rest if name not in used and name not in other and name not in unused and not is_companion(name)]
    return Pairing(of=of, unused=tuple(unused), shared=_shared(of), other_captions=tuple(sorted(other)), left_out=tuple(left_out))


def _first(files: _Names, image: str, extensions: Sequence[str]) -> str | None:
    candidates = (name for extension in extensions for name in _candidates(image, extension))
    return next((found for name in candidates if (found := files.find(name)) is not None), None)


def captions_beside(images: Iterable[str], names: Iterable[str], extension: str = CAPTION) -> dict[str, list[str]]:
    """Return the files that would be the caption of each image, one after the other: the used one first, then those named after this image."""
    names = list(names)
    files = _Names(name for name in names if not is_image_name(name))
    beside = {}
    for image in images:
        stem = image.rpartition(".")[0].casefold()
        found = dict.fromkeys(filter(None, map(files.find, _candidates(image, extension))))
        beside[image] = [name for position, name in enumerate(found) if position == 0 or name.casefold().startswith(f"{stem}.")]
    return beside


def _candidates(image: str, extension: str) -> Iterator[str]:
    stem = image.rpartition(".")[0]
    yield stem + extension
    yield image + extension
    yield stem + extension * 2
    words = stem.split("_")
    if len(words) > FACE_NUMBERS:
        yield "_".join(words[:-FACE_NUMBERS]) + extension


def _shared(of: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if len(set(of.values())) == len(of):
        return ()
    first: dict[str, str] = {}
    pairs = [(first.setdefault(caption, image), image) for image, caption in of.items()]
    is_plain = {image: caption.rpartition(".")[0].casefold() == image.rpartition(".")[0].casefold() for image, caption in of.items()}
    return tuple((one, other) for one, other in pairs if one != other and is_plain[one] and is_plain[other])


def is_companion(name: str) -> bool:
    """Return True for a file that is expected beside images: hidden, a cache or metadata."""
    return name.startswith(".") or name.casefold().endswith(COMPANIONS)


def caption_name(name: str) -> str:
    """Return the plain name of a caption file: a.txt for a.TXT, a.png.txt and a.txt.txt."""
    stem = PurePath(name).stem
    inner = PurePath(stem)
    return (inner.stem if is_image_name(stem) or inner.suffix.casefold() == CAPTION else stem) + CAPTION


def control_character(text: str) -> str:
    """Return the first control character of a caption as U+0007, "" if it has none. Ends of lines are not trained, so none of them counts."""
    return control_character_in("\n".join(text.splitlines()))


def decode_caption(data: bytes) -> str:
    """Return the text of a caption file, decoded as UTF-8 or by its byte order mark.

    Raises:
        UnicodeDecodeError: For any other encoding, and for control characters, such as the NULs of UTF-16 without a byte order mark.
    """
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    text = data.decode(encoding).strip()
    if control_character(text):
        raise UnicodeDecodeError(encoding, data, 0, len(data), "control characters")
    return text


def trained_text(text: str, *, wildcards: bool) -> str:
    """Return the text that is trained: a caption's lines joined by spaces. With enable_wildcard the lines stay, and each step draws one of them."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ("\n" if wildcards else " ").join(lines)
