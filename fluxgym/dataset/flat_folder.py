"""Images in kohya's folders, `10_sks cat` and others, as one folder, and what the names of the folders say about the training."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fluxgym.config.settings import SETTINGS
from fluxgym.contract.dataset_notes import images_in_subfolders, listed
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.kohya_folders import KohyaFolder, clear_folders, common_class, common_repeats
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import copy_regular
from fluxgym.dataset.folder import stems_of
from fluxgym.dataset.folder_index import images_among, scan
from fluxgym.runs.files import storage_error

REPEATS = "num_repeats"
TRIGGER = "concept_sentence"


@dataclass(frozen=True, kw_only=True)
class FlatFolder:
    """A folder of images, and the folders of kohya's form that they come from, () for any other folder."""

    path: Path
    kohya: tuple[KohyaFolder, ...] = ()


@contextmanager
def flat_folder(folder: Path) -> Iterator[FlatFolder]:
    """Yield a folder itself; or, if all of its images are in kohya's folders inside it, a temporary one with links to these images.

    Captions and other small files come along. Images of one name in two folders get the name of their folder in front.

    Raises:
        StorageError: If the folder cannot be read, or the temporary one cannot be written.
    """
    kohya = () if images_among(scan(folder)) else clear_folders(_subfolders(folder))
    if not kohya:
        yield FlatFolder(path=folder)
        return
    with TemporaryDirectory(prefix="fluxgym-images-") as path:
        try:
            _gather([folder / each.name for each in kohya], Path(path))
        except OSError as error:
            raise storage_error(error, Path(path)) from error
        yield FlatFolder(path=Path(path), kohya=kohya)


def _subfolders(folder: Path) -> Mapping[str, int]:
    try:
        return images_in_subfolders(folder)
    except OSError as error:
        raise storage_error(error, folder) from error


def _gather(folders: Sequence[Path], target: Path) -> None:
    found = {folder: scan(folder) for folder in folders}
    stems = [stem for entries in found.values() for stem in stems_of(images_among(entries))]
    has_equal_names = len(set(stems)) < len(stems)
    for folder, entries in found.items():
        for entry in entries.values():
            if not entry.is_dir():
                _put(entry, target / (f"{folder.name}-{entry.name}" if has_equal_names else entry.name))


def _put(entry: os.DirEntry[str], target: Path) -> None:
    """Copy a small file, such as a caption, which is not read through a link; link to any other."""
    is_small = entry.is_file(follow_symlinks=False) and entry.stat().st_size <= MAX_CAPTION_BYTES
    if is_small and not is_image_name(entry.name):
        copy_regular(entry.path, target)
    else:
        target.symlink_to(Path(entry.path).absolute())


def settings_of(kohya: Sequence[KohyaFolder]) -> dict[str, Any]:
    """Return the settings that all folders agree on, with the keys of a state: repeats, and the trigger word for images without a caption."""
    found = {REPEATS: common_repeats(kohya), TRIGGER: common_class(kohya) or None}
    return {name: value for name, value in found.items() if value is not None}


def with_settings_of(kohya: Sequence[KohyaFolder], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state with the folders' settings where it has none, or an empty one."""
    return settings_of(kohya) | {name: value for name, value in state.items() if value not in (None, "") or name not in (REPEATS, TRIGGER)}


def repeats_sentence(kohya: Sequence[KohyaFolder], num_repeats: object) -> str:
    """Return what the folders say about repeats, and what is used: the setting's value; "" without folders."""
    if not kohya:
        return ""
    label, common = SETTINGS[REPEATS].label, common_repeats(kohya)
    names = listed(each.name for each in kohya)
    where = f"The images are in kohya's folder{'s' * (len(kohya) > 1)} {names}"
    if common is None:
        return (
            f"{where}, with different numbers of repeats. FluxGym uses all images equally often: “{label}” is {num_repeats}. "
            "To keep the difference, train with --train_data_dir of sd-scripts/flux_train_network.py."
        )
    if str(common) == str(num_repeats):
        return f"{where}, so “{label}” is {common}."
    return f"{where}, which says {common} repeats. “{label}” is set to {num_repeats}, which is used."
