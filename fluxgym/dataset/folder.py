"""A folder of training images with captions beside them: `cat.png` and `cat.txt`."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fluxgym.contract.caption_files import CAPTION, captions_beside, control_character, decode_caption, pair_captions, trained_text
from fluxgym.contract.dataset_notes import undecodable_message
from fluxgym.contract.dataset_rules import is_image_name, is_portable_name
from fluxgym.contract.images.formats import EXTENSIONS_TEXT
from fluxgym.contract.limits import MAX_CAPTION_BYTES, MAX_NAME_BYTES
from fluxgym.contract.regular_files import UnsafeFile, copy_regular, read_regular
from fluxgym.dataset.arrivals import Arrival, Outcome, arrival_of_caption, arrival_of_image
from fluxgym.dataset.file_names import safe_name, without_folders
from fluxgym.dataset.folder_index import (
    MAX_CAPTION,
    Captions,
    FolderIndex,
    check_not_linked,
    files_among,
    images_among,
    pair_entries,
    read_caption,
    scan,
)
from fluxgym.dataset.images import DecodedImages
from fluxgym.dataset.natural_order import natural_key
from fluxgym.errors import DatasetError
from fluxgym.runs.atomic_files import remove_file, write_text
from fluxgym.runs.disk_space import ensure_free_space
from fluxgym.runs.locks import file_lock
from fluxgym.runs.storage_errors import storage_error

BUSY_S = 60.0  # another tab may be copying thousands of images


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
    """The images and captions of one training. caches.py makes those that share what was read."""

    def __init__(self, path: Path, index: FolderIndex | None = None, decoded: DecodedImages | None = None) -> None:
        self.path = path
        self._index = index or FolderIndex(path)
        self._decoded = decoded or DecodedImages()

    def names(self) -> list[str]:
        """Return the images' names in order."""
        return sorted(self.images(), key=natural_key)

    def images(self) -> dict[str, os.DirEntry[str]]:
        """Return the directory entries of the images by name."""
        return images_among(scan(self.path))

    def tally(self) -> ImageCounts:
        """Return how many images there are, and how many of them have a caption that is not empty."""
        texts = self.captions().texts
        return ImageCounts(len(texts), sum(map(bool, texts.values())))

    def captions(self) -> Captions:
        """Return the captions of all images."""
        return self._index.captions()

    def items_of(self, names: list[str], captions: Captions) -> list[Item]:
        """Return some of the images whose captions were read, by name."""
        items = []
        for name in names:
            try:
                status = (self.path / name).stat()
                items.append(Item(name, captions.texts[name], status.st_size, status.st_mtime_ns))
            except OSError:
                continue  # removed since the names were listed
        return items

    def count(self) -> int:
        """Return the number of images."""
        return self._index.count()

    def items(self, offset: int = 0, limit: int | None = None) -> list[Item]:
        """Return a page of images with their captions."""
        captions = self.captions()
        return self.items_of(list(captions.texts)[offset : None if limit is None else offset + limit], captions)

    def changing(self) -> AbstractContextManager[None]:
        """Return the lock that guards changes of this folder.

        Raises:
            AlreadyRunning: If another process holds it for BUSY_S seconds.
        """
        lock = self.path.with_name(f".{self.path.name}.lock")
        return file_lock(lock, timeout_s=BUSY_S, busy="Other images are being added to the form; try again in a moment.")

    def image_path(self, name: str) -> Path:
        """Return an image's path.

        Raises:
            DatasetError: If there is no image of this name.
        """
        check_not_linked(self.path)
        path = self.path / name
        if name != path.name or not is_image_name(name) or len(os.fsencode(name)) > MAX_NAME_BYTES or not path.is_file():
            raise DatasetError(f"There is no image “{name[:80]}” here.", field="images")
        return path

    def caption(self, name: str) -> str:
        """Return an image's caption."""
        return self._text(self.caption_files().get(name))

    def caption_files(self) -> Mapping[str, str]:
        """Return the names of the caption files by image, for the images that have one."""
        return pair_entries(scan(self.path)).of

    def file_names(self) -> set[str]:
        """Return the names of all files: images, captions and others."""
        return files_among(scan(self.path))

    def unused_captions(self) -> tuple[str, ...]:
        """Return the names of caption files that belong to no image."""
        return pair_entries(scan(self.path)).unused

    def _text(self, caption: str | None) -> str:
        return "" if caption is None else read_caption(self.path / caption)

    def set_caption(self, name: str, text: str) -> None:
        """Write an image's caption; an empty one removes the file."""
        self.set_captions({name: text})

    def set_captions(self, captions: Mapping[str, str]) -> None:
        """Write captions by image name, each to the file that is paired with the image; an empty one removes the file.

        The file stays, empty, where another file would become the image's caption. An image that shares a file with images of other stems
        gets one of its own.
        """
        for name, text in captions.items():
            self.image_path(name)
            check_caption(name, text)
        names = files_among(scan(self.path))
        files = _caption_targets(captions, names)
        emptied = {files[name] for name, text in captions.items() if not text.strip()}
        still_paired = pair_captions(names.union(files.values()).difference(emptied), CAPTION).of
        for name, text in captions.items():
            if text.strip() or name in still_paired:
                write_text(self.path / files[name], f"{text.strip()}\n" if text.strip() else "")
            else:
                _remove(self.path / files[name])

    def add(
        self, source: Path, name: str, *, prepare: Callable[[], object] = lambda: None, keep: Callable[[Path], object] = lambda _: None
    ) -> Arrival:
        """Move an image or caption file into the folder, unless its content is there already.

        An image never replaces another one. A caption replaces the one of its name, unless the names became equal only because FluxGym
        left out characters of this one. prepare is called once the file is known to be valid, keep with a caption before it is replaced.

        Raises:
            DatasetError: If the file is neither an image nor a caption, is damaged, is not UTF-8 or would replace another caption; the
                message names it.
        """
        given, name = without_folders(name), safe_name(name)
        is_caption = Path(name).suffix.lower() == CAPTION
        if is_caption:
            self._check_caption(source, name)
        elif not is_image_name(name):
            raise DatasetError(f"{name} is neither an image nor a .txt caption; use {EXTENSIONS_TEXT}.", field="images")
        else:
            self._check_image(source, name)
        prepare()
        with self.changing():
            try:
                arrival = (
                    arrival_of_caption(source, name, self.path, given)
                    if is_caption
                    else arrival_of_image(source, name, self.path, self.file_names())
                )
                if arrival.outcome is Outcome.REPLACED:
                    keep(self.path / arrival.name)
                if arrival.outcome is not Outcome.PRESENT:
                    self.path.mkdir(parents=True, exist_ok=True)
                    shutil.move(source, self.path / arrival.name)
            except OSError as error:
                raise storage_error(error, self.path / name) from error
        return arrival

    def remove(self, name: str, *, may_remove: Callable[[Path], bool] = lambda _: True) -> None:
        """Remove an image and its captions, unless another image has the same one or may_remove refuses it."""
        path, names = self.image_path(name), self.file_names()
        used = {caption for image, caption in pair_captions(names, CAPTION).of.items() if image != name}
        captions = [self.path / file for file in captions_beside([name], names)[name] if file not in used]
        captions = list(filter(may_remove, captions))
        _remove(path)
        for caption in captions:
            _remove(caption)

    def _check_caption(self, source: Path, name: str) -> None:
        try:
            decode_caption(read_regular(source, MAX_CAPTION_BYTES))
        except UnsafeFile as error:
            raise DatasetError(refusal_of(name, error.reason), field="images") from None
        except UnicodeDecodeError:
            raise DatasetError(undecodable_message(name), field="images") from None

    def _check_image(self, source: Path, name: str) -> None:
        try:
            self._decoded.check(source)
        except DatasetError as error:
            raise DatasetError(str(error).replace(source.name, name), field="images") from None


def _caption_targets(images: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """Return the file that each image's caption is written to."""
    of = pair_captions(names, CAPTION).of
    stems: dict[str, set[str]] = {}
    for image, file in of.items():
        stems.setdefault(file, set()).add(Path(image).stem)
    return {image: of[image] if len(stems.get(of.get(image, ""), ())) == 1 else Path(image).stem + CAPTION for image in images}


def check_caption(name: str, text: str) -> None:
    """Raise DatasetError if a text cannot be the caption of an image of this name."""
    check_caption_length(name, len(text))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DatasetError(
            f"The caption of {name} contains half of a character, which is not valid Unicode; type it again.", field="images"
        ) from None
    if char := control_character(text):
        raise DatasetError(f"The caption of {name} holds the control character {char}; remove it.", field="images")


def check_caption_length(name: str, length: int) -> None:
    """Raise DatasetError if a caption of this length, in characters, is too long for an image of this name."""
    if length > MAX_CAPTION:
        raise DatasetError(f"The caption of {name} is longer than {MAX_CAPTION} characters.", field="images")


def _remove(path: Path) -> None:
    """Remove a file.

    Raises:
        StorageError: If that fails.
    """
    if error := remove_file(path):
        raise storage_error(error, path) from error


@dataclass(frozen=True, kw_only=True)
class CaptionRules:
    """How captions are copied into a run: their file extension, and if their lines are alternatives.

    joins_lines is True for a trainer that trains the first line only; several lines are joined for it, unless they are alternatives.
    """

    extension: str = CAPTION
    wildcards: bool = False
    joins_lines: bool = False


def copy_into(source: Path, target: Path) -> int:
    """Copy a folder's images and captions, and return the number of images.

    Images are hard-linked where possible. Captions keep their content and get the extension .txt, also empty ones, so that no image gets
    that of another; they are never linked, so that a later edit changes one run only.

    Raises:
        DatasetError: If there are no images.
        StorageError: If the disk is full or cannot be written.
    """
    return _copy(source, target, CAPTION, _content)


def copy_for_training(source: Path, target: Path, rules: CaptionRules) -> int:
    """Copy as `copy_into` does, with captions in UTF-8. An image without a caption stays without one: dataset.toml has the text for it.

    Raises:
        DatasetError: If a caption has an unknown encoding or control characters, because replaced characters would be trained.
    """

    def read(path: Path) -> bytes | None:
        try:
            text = decode_caption(_content(path))
        except UnicodeDecodeError:
            raise DatasetError(undecodable_message(path.name), field="images") from None
        text = trained_text(text, wildcards=rules.wildcards) if rules.joins_lines else text
        if not text:
            return None if rules.joins_lines else b""  # kohya's trainer breaks off at an empty file
        return f"{text}\n".encode()

    return _copy(source, target, rules.extension, read)


def _content(caption: Path) -> bytes:
    """Return what a caption file holds.

    Raises:
        DatasetError: For a link, a pipe, a device or a file that is too large.
    """
    try:
        return read_regular(caption, MAX_CAPTION_BYTES)
    except UnsafeFile as error:
        raise DatasetError(refusal_of(caption.name, error.reason), field="images") from None


def check_names(names: Iterable[str]) -> None:
    """Raise DatasetError naming the first image whose name is not UTF-8, which dataset.toml and the trainer could not name."""
    odd = next((name for name in names if os.fsencode(name) != name.encode("utf-8", "replace")), None)
    if odd is not None:
        raise DatasetError(f"The name of the image {os.fsencode(odd).decode('utf-8', 'replace')} is not UTF-8; rename it.", field="images")


def check_portable(names: Iterable[str]) -> None:
    """Raise DatasetError naming the first image whose name an export could not hold."""
    odd = next((name for name in names if not is_portable_name(name)), None)
    if odd is not None:
        shown = "".join(char if char.isprintable() else "?" for char in odd)
        raise DatasetError(
            f"The name of the image “{shown}” begins with a dot, or holds a backslash or control character; rename or remove it.",
            field="images",
        )


def _copy(source: Path, target: Path, extension: str, read: Callable[[Path], bytes | None]) -> int:
    entries = scan(source)
    names = sorted(images_among(entries))
    check_names(names)
    if not names:
        raise DatasetError(f"There are no images to train on; add at least one {EXTENSIONS_TEXT} file.", field="images")
    captions = pair_entries(entries, extension).of
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name in names:
            _link(source / name, target / name)
            content = read(source / captions[name]) if name in captions else None
            caption = (target / name).with_suffix(CAPTION)
            if content or (content is not None and not caption.exists()):
                caption.write_bytes(content)
    except OSError as error:
        raise storage_error(error, target) from error
    return len(names)


def refusal_of(caption: str, why: str) -> str:
    """Return the message about a caption that is not read because it is not a regular file or is too large."""
    return f"The caption {caption} is not read: {why}. Replace it by a text file, or remove it."


def _link(source: Path, target: Path) -> None:
    """Hard-link an image, or copy it on a volume that cannot. The image may be a link, whose target is used."""
    source = source.resolve()  # a relative symbolic link would be broken there
    try:
        os.link(source, target)
    except OSError:
        ensure_free_space(target.parent, source.stat().st_size)
        copy_regular(source, target)
