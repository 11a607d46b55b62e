"""The check before Start that a masked loss leaves something to be trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fluxgym.config.settings import TrainConfig
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.files import DATASET_FOLDER
from fluxgym.contract.masks import all_empty_message, masks_folder, some_empty_message
from fluxgym.dataset.images import MaskChannel, MaskLevels
from fluxgym.errors import Level
from fluxgym.planning.start_checks import Findings, ImageSet

FIELD = "advanced"


@dataclass(frozen=True)
class MaskFiles:
    """The masks of num_images images, by image name: files of their own, or the images themselves, whose alpha channels are masks."""

    files: Mapping[str, Path]
    channel: MaskChannel
    num_images: int

    @classmethod
    def of(cls, config: TrainConfig, images: ImageSet, trainer_dir: Path) -> Self:
        """Return the masks that the trainer uses with these settings."""
        if config.flag("alpha_mask"):
            return cls({name: images.folder / name for name in images.captions}, MaskChannel.ALPHA, len(images.captions))
        return cls(_masks(config, images, trainer_dir), MaskChannel.RED, len(images.captions))


def check_masks(masks: MaskFiles, levels: MaskLevels, findings: Findings, *, may_decode: bool) -> bool:
    """Report the images of which no area is trained; return False if a mask has to be decoded and may not be now."""
    if not may_decode and not levels.are_known(masks.files.values(), masks.channel):
        return False
    brightest = findings.attempt(lambda: {name: levels.brightest(path, masks.channel) for name, path in masks.files.items()}, FIELD) or {}
    empty = [name for name, level in brightest.items() if not level]
    is_alpha = masks.channel is MaskChannel.ALPHA
    if empty and len(empty) == masks.num_images:
        findings.add(Level.ERROR, all_empty_message(is_alpha=is_alpha), FIELD)
    elif empty:
        findings.add(Level.WARNING, some_empty_message(empty, is_alpha=is_alpha), FIELD)
    return True


def _masks(config: TrainConfig, images: ImageSet, trainer_dir: Path) -> dict[str, Path]:
    """Return the masks by image name; the trainer reports images that have none."""
    given = config.flag("conditioning_data_dir")
    if not given or not config.flag("masked_loss"):
        return {}
    folder = Path(masks_folder(str(Path(trainer_dir, given)), DATASET_FOLDER))
    try:
        masks = {path.stem: path for path in sorted(folder.iterdir()) if is_image_name(path.name) and path.is_file()}
    except OSError:
        return {}  # the check of the settings reports a folder that is missing
    return {name: masks[stem] for name in images.captions if (stem := Path(name).stem) in masks}
