"""The check before Start that a masked loss leaves something to be trained."""

from pathlib import Path

from fluxgym.config.settings import TrainConfig
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.files import DATASET_FOLDER
from fluxgym.contract.masks import all_empty_message, masks_folder, some_empty_message
from fluxgym.dataset.images import MaskChannel, MaskLevels
from fluxgym.errors import Level
from fluxgym.planning.start_checks import Findings, ImageSet

FIELD = "advanced"


def check_masks(
    config: TrainConfig, images: ImageSet, trainer_dir: Path, levels: MaskLevels, findings: Findings, *, may_decode: bool
) -> bool:
    """Report the images of which no area is trained; return False if a mask has to be decoded and may not be now."""
    is_alpha = bool(config.flag("alpha_mask"))
    files = {name: images.folder / name for name in images.captions} if is_alpha else _masks(config, images, trainer_dir)
    if not files:
        return True
    channel = MaskChannel.ALPHA if is_alpha else MaskChannel.RED
    if not may_decode and not levels.are_known(files.values(), channel):
        return False
    empty = findings.attempt(lambda: [name for name, path in files.items() if not levels.brightest(path, channel)], FIELD) or []
    if len(empty) == len(images.captions):
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
