"""Images in kohya's folders, `10_sks cat` and others, as one folder, and the training settings in the names of the folders."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fluxgym.config.settings import SETTINGS
from fluxgym.contract.caption_files import CAPTION, Pairing, is_companion, pair_captions
from fluxgym.contract.dataset_notes import notes
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.folder_summary import FolderSummary, images_in_subfolders
from fluxgym.contract.kohya_folders import KohyaFolder, clear_folders, common_class, common_repeats
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import UnsafeFile, read_regular
from fluxgym.contract.wording import listed
from fluxgym.dataset.file_names import free_stem, short_stem
from fluxgym.dataset.folder import refusal_of
from fluxgym.dataset.folder_index import images_among, is_folder, not_files_among, scan
from fluxgym.errors import DatasetError
from fluxgym.runs.storage_errors import storage_error

REPEATS = "num_repeats"
TRIGGER = "concept_sentence"


@dataclass(frozen=True, kw_only=True)
class FlatFolder:
    """A folder of images, and the folders of kohya's form that they come from, () for any other folder.

    notes has a message for each group of files in kohya's folders that is left out.
    """

    path: Path
    kohya: tuple[KohyaFolder, ...] = ()
    notes: tuple[str, ...] = ()


@contextmanager
def flat_folder(folder: Path) -> Iterator[FlatFolder]:
    """Yield a folder itself; or, if all of its images are in kohya's folders inside it, a temporary one with links to these images.

    Only images and their captions are included. If two folders have images of one name, all get the name of their folder in front.

    Raises:
        StorageError: If the folder cannot be read, or the temporary one cannot be written.
        DatasetError: If a caption is not a regular file, or is too large.
    """
    entries = scan(folder)
    kohya = () if images_among(entries) else clear_folders(_subfolders(folder))
    if not kohya:
        yield FlatFolder(path=folder)
        return
    with TemporaryDirectory(prefix="fluxgym-images-") as path:
        sources = [_Source.of(folder / subfolder.name) for subfolder in kohya]
        try:
            _gather(sources, Path(path))
        except OSError as error:
            raise storage_error(error, Path(path)) from error
        yield FlatFolder(path=Path(path), kohya=kohya, notes=tuple(_left_out(sources, not_files_among(entries))))


@dataclass(frozen=True, kw_only=True)
class _Source:
    """One of kohya's folders.

    images are in order, captions are the caption files of each image, files are all files, including both. subfolders has the number of images in each
    folder inside. not_files are entries that have an image's name but are folders, pipes, devices or broken links.
    """

    path: Path
    images: tuple[str, ...]
    captions: Mapping[str, tuple[str, ...]]
    files: tuple[str, ...]
    subfolders: Mapping[str, int]
    not_files: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> "_Source":
        entries = scan(path)
        files = tuple(sorted(name for name, entry in entries.items() if not is_folder(entry)))
        extensions = sorted(
            {suffix for name in files if (suffix := Path(name).suffix) and not is_image_name(name) and not is_companion(name)}
        )
        pairs = [pair_captions(files, extension).of for extension in extensions]
        images = tuple(sorted(images_among(entries)))
        captions = {image: tuple(of[image] for of in pairs if image in of) for image in images}
        return cls(
            path=path, images=images, captions=captions, files=files, subfolders=_subfolders(path), not_files=not_files_among(entries)
        )


def _subfolders(folder: Path) -> Mapping[str, int]:
    try:
        return images_in_subfolders(folder)
    except OSError as error:
        raise storage_error(error, folder) from error


def _gather(sources: Sequence[_Source], target: Path) -> None:
    """Put links to all images and copies of their captions into an empty folder; each image gets a unique stem."""
    stems = [Path(name).stem for source in sources for name in source.images]
    has_equal_names = len(set(stems)) < len(stems)
    taken: set[str] = set()
    for source in sources:
        for name in source.images:
            wanted = Path(f"{source.path.name}-{name}" if has_equal_names else name)
            stem = free_stem(short_stem(wanted.stem, wanted.suffix), taken)
            taken.add(stem)
            (target / f"{stem}{wanted.suffix}").symlink_to((source.path / name).absolute())
            _put_captions(source, name, target / stem)


def _put_captions(source: _Source, image: str, target: Path) -> None:
    """Copy an image's captions; one without any gets an empty one, so that it does not get that of another folder's image.

    Raises:
        DatasetError: If a caption is a link, a pipe, a device or too large.
    """
    for name in source.captions[image]:
        copied = target.with_name(f"{target.name}{Path(name).suffix}")
        try:
            copied.write_bytes(read_regular(source.path / name, MAX_CAPTION_BYTES))
        except UnsafeFile as error:
            raise DatasetError(refusal_of(f"{source.path.name}/{name}", error.reason), field="images") from None
    if not source.captions[image]:
        target.with_name(f"{target.name}{CAPTION}").touch()


def _left_out(sources: Sequence[_Source], beside: Sequence[str]) -> Iterator[str]:
    """Yield a message for each group of files that is left out; file names are relative to the parent folder, which holds `beside` itself."""
    not_files = [*beside, *(f"{source.path.name}/{name}" for source in sources for name in source.not_files)]
    unused: list[str] = []
    left_out: list[str] = []
    captions: dict[str, str] = {}
    subfolders: dict[str, int] = {}
    for source in sources:
        used = {name for names in source.captions.values() for name in names}
        rest = pair_captions((name for name in source.files if name not in used), CAPTION)
        unused += [f"{source.path.name}/{name}" for name in rest.unused]
        left_out += [f"{source.path.name}/{name}" for name in rest.left_out]
        captions |= dict.fromkeys(source.images, "")
        subfolders |= {f"{source.path.name}/{name}": number for name, number in source.subfolders.items()}
    pairing = Pairing(of={}, unused=tuple(unused), left_out=tuple(left_out))
    yield from notes(
        FolderSummary(captions=captions, pairing=pairing, subfolders=subfolders, not_files=tuple(not_files)), extension=CAPTION
    )


def settings_of(kohya: Sequence[KohyaFolder]) -> dict[str, Any]:
    """Return the settings that all folders agree on, with the keys of a state: repeats, and the trigger word for images without a caption."""
    found = {REPEATS: common_repeats(kohya), TRIGGER: common_class(kohya) or None}
    return {name: value for name, value in found.items() if value is not None}


def with_settings_of(kohya: Sequence[KohyaFolder], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state with the folders' settings where it has none, or an empty one."""
    return settings_of(kohya) | {name: value for name, value in state.items() if value not in (None, "") or name not in (REPEATS, TRIGGER)}


def repeats_message(kohya: Sequence[KohyaFolder], num_repeats: object) -> str:
    """Return the message about the folders' repeats and the setting's value, which is used; "" without folders."""
    if not kohya:
        return ""
    label, common = SETTINGS[REPEATS].label, common_repeats(kohya)
    names = listed(subfolder.name for subfolder in kohya)
    where = f"The images are in kohya's folder{'s' * (len(kohya) > 1)} {names}"
    if common is None:
        return (
            f"{where}, with different numbers of repeats. FluxGym uses all images equally often: “{label}” is {num_repeats}. "
            "To keep the difference, train with --train_data_dir of sd-scripts/flux_train_network.py."
        )
    if str(common) == str(num_repeats):
        return f"{where}, so “{label}” is {common}."
    return f"{where}, which says {common} repeats. “{label}” is set to {num_repeats}, which is used."
