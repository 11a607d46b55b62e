"""A folder of training images with captions beside them: `cat.png` and `cat.txt`."""

import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import UnsafeFile, copy_regular, read_regular
from fluxgym.dataset.folder_index import CAPTION, MAX_CAPTION, Captions, check_not_linked, images_among, index_of, scan
from fluxgym.dataset.images import ImageSize, check_image
from fluxgym.errors import DatasetError
from fluxgym.runs.files import ensure_room, file_lock, remove_file, storage_error, write_text

MAX_NAME_BYTES = 200
BUSY_S = 60.0  # as long as another tab's thousands of images are being copied


@dataclass(frozen=True)
class Item:
    """An image and its caption, "" when it has none."""

    name: str
    caption: str
    bytes: int
    mtime_ns: int


class ImageCounts(NamedTuple):
    """How many images there are, and how many of them have a caption."""

    images: int
    captioned: int


class ImageFolder:
    """The images and captions of one training."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the images' names in order."""
        return sorted(self.images())

    def images(self) -> dict[str, os.DirEntry[str]]:
        """Return the directory entries of the images by name."""
        return images_among(scan(self.path))

    def tally(self) -> ImageCounts:
        """Return how many images there are, and how many of them have a caption that is not empty."""
        texts = self.captions().texts
        return ImageCounts(len(texts), sum(map(bool, texts.values())))

    def captions(self) -> Captions:
        """Return the captions of all images."""
        return index_of(self.path).captions()

    def items_of(self, names: list[str]) -> list[Item]:
        """Return images by name with their captions."""
        items = []
        for name in names:
            try:
                status = (self.path / name).stat()
                items.append(Item(name, self.caption(name), status.st_size, status.st_mtime_ns))
            except (OSError, DatasetError):
                continue  # removed since the names were listed
        return items

    def count(self) -> int:
        """Return the number of images."""
        return index_of(self.path).count()

    def items(self, offset: int = 0, limit: int | None = None) -> list[Item]:
        """Return a page of images with their captions."""
        return self.items_of(self.names()[offset : None if limit is None else offset + limit])

    def changing(self) -> AbstractContextManager[None]:
        """Return the lock that guards changes of this folder; raises AlreadyRunning if another process holds it for BUSY_S seconds."""
        lock = self.path.with_name(f".{self.path.name}.lock")
        return file_lock(lock, timeout_s=BUSY_S, busy="Other images are being added to the form; try again in a moment.")

    def image_path(self, name: str) -> Path:
        """Return an image's path; raises DatasetError if there is no image of this name."""
        check_not_linked(self.path)
        path = self.path / name
        if name != path.name or not is_image_name(name) or len(os.fsencode(name)) > 255 or not path.is_file():
            raise DatasetError(f"There is no image “{name[:80]}” here.", field="images")
        return path

    def caption(self, name: str) -> str:
        """Return an image's caption."""
        try:
            path = (self.path / name).with_suffix(CAPTION)
            return read_regular(path, MAX_CAPTION_BYTES).decode("utf-8-sig", "replace").strip()
        except OSError:
            return ""

    def set_caption(self, name: str, text: str) -> None:
        """Write an image's caption; an empty one removes the file."""
        path = self.image_path(name).with_suffix(CAPTION)
        check_caption(name, text)
        if text.strip():
            write_text(path, text.strip() + "\n")
        else:
            _remove(path)

    def add(self, source: Path, name: str, *, prepare: Callable[[], object] = lambda: None) -> str:
        """Move an image or caption file into the folder and return its new name; prepare is called once the file is known to be valid.

        Raises DatasetError naming the file when it is neither, damaged, or not UTF-8. An image of a taken name or stem gets a number.
        """
        name = safe_name(name)
        if Path(name).suffix.lower() == CAPTION:
            self._check_caption(source, name)
            prepare()
            return self._move(source, Path(name).stem + CAPTION)
        if not is_image_name(name):
            raise DatasetError(f"{name} is neither an image nor a .txt caption; use .png, .jpg or .webp.", field="images")
        self._check_image(source, name)
        prepare()
        with self.changing():
            return self._move(source, self._free(name))

    def remove(self, name: str) -> None:
        """Remove an image and its caption, unless another image has the same caption."""
        path = self.image_path(name)
        _remove(path)
        if path.stem not in stems_of(self.images()):
            _remove(path.with_suffix(CAPTION))

    def _check_caption(self, source: Path, name: str) -> None:
        try:
            read_regular(source, MAX_CAPTION_BYTES).decode("utf-8")
        except UnsafeFile as error:
            raise DatasetError(refusal_of(name, error.reason), field="images") from None
        except UnicodeDecodeError:
            raise DatasetError(f"The caption {name} is not UTF-8 text; save it as UTF-8.", field="images") from None

    def _check_image(self, source: Path, name: str) -> None:
        try:
            check_image(source)
        except DatasetError as error:
            raise DatasetError(str(error).replace(source.name, name), field="images") from None

    def _free(self, name: str) -> str:
        """Return a name with a stem that no other image has, because captions are found by stem; an equal name replaces the image."""
        taken = {Path(other).stem for other in self.names() if other != name}
        stem, suffix = Path(name).stem, Path(name).suffix
        number = 2
        free = stem
        while free in taken:
            free, number = f"{stem}-{number}", number + 1
        return free + suffix

    def _move(self, source: Path, name: str) -> str:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            shutil.move(source, self.path / name)
        except OSError as error:
            raise storage_error(error, self.path / name) from error
        return name


def check_caption(name: str, text: str) -> None:
    """Raise DatasetError if a text cannot be the caption of an image of this name."""
    if len(text) > MAX_CAPTION:
        raise DatasetError(f"The caption of {name} is longer than {MAX_CAPTION} characters.", field="images")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DatasetError(
            f"The caption of {name} contains half of a character, which is not valid Unicode; type it again.", field="images"
        ) from None


def stems_of(names: Iterable[str]) -> set[str]:
    """Return the stems of image names: images with one stem share a caption."""
    return {Path(name).stem for name in names}


def _remove(path: Path) -> None:
    """Remove a file; raises StorageError if that fails."""
    if error := remove_file(path):
        raise storage_error(error, path) from error


def safe_name(name: str) -> str:
    """Return a file name without folders, control characters and leading dots; raises DatasetError if the result is empty."""
    plain = unicodedata.normalize("NFC", name.replace("\\", "/").rsplit("/", 1)[-1])
    plain = re.sub(r"[\x00-\x1f\x7f]", "", plain).strip().lstrip(".")
    stem, suffix = Path(plain).stem, Path(plain).suffix
    while len((stem + suffix).encode()) > MAX_NAME_BYTES and stem:
        stem = stem[:-1]
    if not stem:
        raise DatasetError(f"“{name[:80]}” is not a valid file name.", field="images")
    return stem + suffix


def copy_into(source: Path, target: Path, default_caption: str, *, extension: str = CAPTION) -> int:
    """Copy (hard-link where possible) a folder's images and captions; images without a caption get `default_caption`.

    Captions are read from files that end in `extension`, else in .txt, and always copied, as .txt: a later edit changes one run only, and
    who looks into a run need not know what they were called. Returns the number of images. Raises DatasetError when there are none,
    StorageError when the disk refuses.
    """
    if not re.fullmatch(r"\.[^./\\\0]+", extension) or is_image_name(f"x{extension}"):
        raise DatasetError(
            f"Captions cannot end in “{extension[:40]}”; caption_extension is a dot and letters, such as .txt.", field="advanced"
        )
    names = ImageFolder(source).names()
    odd = next((name for name in names if os.fsencode(name) != name.encode("utf-8", "replace")), None)
    if odd is not None:
        raise DatasetError(f"The name of the image {os.fsencode(odd).decode('utf-8', 'replace')} is not UTF-8; rename it.", field="images")
    if not names:
        raise DatasetError("There are no images to train on; add at least one .png, .jpg or .webp file.", field="images")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            _link(source / name, target / name)
            caption = _strict_caption(source / name, extension) or _strict_caption(source / name, CAPTION) or default_caption
            if caption:
                (target / name).with_suffix(CAPTION).write_text(caption + "\n", encoding="utf-8")
    except OSError as error:
        raise storage_error(error, target) from error
    return len(names)


def _strict_caption(image: Path, extension: str) -> str:
    """Return a caption, "" if there is no file.

    Raises DatasetError if it is not UTF-8, because replaced characters would be trained on, or if it is a link, a pipe, a device or a giant.
    """
    path = image.with_suffix(extension)
    try:
        return read_regular(path, MAX_CAPTION_BYTES).decode("utf-8-sig").strip()
    except FileNotFoundError:
        return ""
    except UnsafeFile as error:
        raise DatasetError(refusal_of(path.name, error.reason), field="images") from None
    except UnicodeDecodeError:
        raise DatasetError(f"The caption {path.name} is not UTF-8 text; save it as UTF-8.", field="images") from None


def refusal_of(caption: str, why: str) -> str:
    """Return the sentence about a caption that is not read, because it is not a regular file or is too large."""
    return f"The caption {caption} is not read: {why}. Replace it by a text file, or remove it."


def _link(source: Path, target: Path) -> None:
    """Hard-link an image, or copy it on a volume that cannot. The image may be a link, whose target is used."""
    source = source.resolve()  # a relative symbolic link would be broken there
    try:
        os.link(source, target)
    except OSError:
        ensure_room(target.parent, source.stat().st_size)
        copy_regular(source, target)


def sizes(path: Path) -> Sequence[ImageSize]:
    """Return the sizes of all images of a folder; raises BadImage, which names the file, for a damaged one."""
    return index_of(path).sizes()
