"""The check before Start that each image has a mask that fits it, and that the masks leave something to be trained."""

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from fluxgym.config.settings import TrainConfig
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.files import DATASET_FOLDER
from fluxgym.contract.masks import (
    all_empty_message,
    has_other_shape,
    masks_folder,
    missing_message,
    other_shape_message,
    some_empty_message,
)
from fluxgym.dataset.images import MaskChannel, MaskLevels, read_size
from fluxgym.errors import BadImage, ConfigError, Level
from fluxgym.planning.start_checks import Findings, ImageSet

FIELD = "advanced"
Found = TypeVar("Found")


@dataclass(frozen=True)
class MaskFiles:
    """The masks of images, by image name: files of their own, or the images themselves, whose alpha channels are masks.

    folder is the one that should have a mask of each image, None if no files of masks are used.
    """

    images: Path
    names: Collection[str]
    files: Mapping[str, Path]
    channel: MaskChannel
    folder: Path | None = None

    @classmethod
    def of(cls, config: TrainConfig, images: ImageSet, trainer_dir: Path) -> Self:
        """Return the masks that the trainer uses with these settings."""
        names, folder = list(images.captions), _folder(config, trainer_dir)
        if config.flag("alpha_mask"):
            return cls(images.folder, names, {name: images.folder / name for name in names}, MaskChannel.ALPHA)
        by_stem = {} if folder is None else _by_stem(folder)
        files = {name: by_stem[stem] for name in names if (stem := Path(name).stem) in by_stem}
        return cls(images.folder, names, files, MaskChannel.RED, folder)


def check_masks(masks: MaskFiles, levels: MaskLevels, findings: Findings, *, may_decode: bool) -> bool:
    """Report masks that are missing or do not fit, and images of which no area is trained; return False if a mask has to be decoded and may not be now."""
    if masks.folder is not None and (missing := [name for name in masks.names if name not in masks.files]):
        findings.add(Level.ERROR, missing_message(missing, str(masks.folder)), FIELD)
    if not may_decode and not levels.are_known(masks.files.values(), masks.channel):
        return False
    if masks.channel is MaskChannel.RED:
        findings.attempt(lambda: _report_shapes(masks, findings), FIELD)
    brightest = findings.attempt(lambda: {name: _brightest(masks, path, levels) for name, path in masks.files.items()}, FIELD) or {}
    empty = [name for name, level in brightest.items() if not level]
    is_alpha = masks.channel is MaskChannel.ALPHA
    if empty and len(empty) == len(masks.names):
        findings.add(Level.ERROR, all_empty_message(is_alpha=is_alpha), FIELD)
    elif empty:
        findings.add(Level.WARNING, some_empty_message(empty, is_alpha=is_alpha), FIELD)
    return True


def _brightest(masks: MaskFiles, path: Path, levels: MaskLevels) -> int:
    if masks.channel is MaskChannel.ALPHA:
        return levels.brightest(path, masks.channel)
    return _of_mask(path, partial(levels.brightest, path, masks.channel))


def _of_mask(path: Path, read: Callable[[], Found]) -> Found:
    """Return what is read of a mask; the error of one that cannot be read names its whole path, because its image has the same name."""
    try:
        return read()
    except BadImage as error:
        raise ConfigError(str(error).replace(path.name, f"The mask {path}", 1), field=FIELD) from None


def _report_shapes(masks: MaskFiles, findings: Findings) -> None:
    for name, path in masks.files.items():
        mask_size, size = _of_mask(path, partial(read_size, path)), read_size(masks.images / name)
        if has_other_shape(mask_size, size):
            findings.add(Level.ERROR, other_shape_message(path.name, mask_size, name, size), FIELD)
            return


def _folder(config: TrainConfig, trainer_dir: Path) -> Path | None:
    """Return the folder of masks; None if there is none, or if it is missing, which the check of the settings reports."""
    given = config.flag("conditioning_data_dir")
    if not given or not config.flag("masked_loss"):
        return None
    folder = masks_folder(str(Path(trainer_dir, given)), DATASET_FOLDER)
    return Path(folder) if os.path.isdir(folder) else None  # noqa: PTH112 (unlike Path's it takes every name)


def _by_stem(folder: Path) -> dict[str, Path]:
    """Return a folder's images by their names without extension."""
    try:
        return {path.stem: path for path in sorted(folder.iterdir()) if is_image_name(path.name) and path.is_file()}
    except OSError:
        return {}
