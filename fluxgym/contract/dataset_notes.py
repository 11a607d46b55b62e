"""Messages about the files of a dataset that are left out, used twice or missing. The form, the preflight and the trainer show the same ones."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

from fluxgym.contract.folder_summary import FolderSummary, without_trigger
from fluxgym.contract.kohya_folders import KohyaFolder, kohya_folder
from fluxgym.contract.limits import MAX_REPEATS
from fluxgym.contract.wording import MAX_NAMED, counted, listed


def undecodable_message(name: str) -> str:
    """Return the message for a caption file that cannot be read, with the remedy."""
    return (
        f"The caption {name} is not UTF-8 text, or holds control characters; save it as UTF-8, or convert all captions of its folder with "
        "“python -m fluxgym captions FOLDER --from cp1252”, or utf-16."
    )


def notes(summary: FolderSummary, *, extension: str, trigger: str = "") -> Iterator[str]:
    """Yield a message for each file that is left out or used twice, and for missing captions or trigger words."""
    pairing = summary.pairing
    if pairing.left_out:
        yield _left_out(pairing.left_out)
    if summary.not_files:
        yield not_files_message(summary.not_files)
    if summary.subfolders and summary.captions:
        yield f"Images in subfolders are left out: {_folders(summary.subfolders)}. Move them into the folder itself to train on them."
    if pairing.unused:
        yield unused_message(pairing.unused)
    if pairing.other_captions:
        endings = sorted({PurePath(name).suffix for name in pairing.other_captions})
        there = counted(len(pairing.other_captions), f"{' and '.join(endings)} file", "is", "are")
        yield (
            f"{there} beside images that have no {extension} caption: {listed(pairing.other_captions)}. "
            f"Set caption_extension = {endings[0]} to use {'it' if len(pairing.other_captions) == 1 else 'them'}."
        )
    for one, other in pairing.shared[:MAX_NAMED]:
        yield f"{one} and {other} share one caption, {pairing.of[one]}. Rename one of them to give it its own."
    for group in summary.equal[:MAX_NAMED]:
        yield f"These images have the same content: {listed(group)}. Each of them is trained, so it counts more than the others."
    if lacking := without_trigger(summary.captions, trigger):
        yield without_trigger_message(lacking, trigger)


def unused_message(names: Sequence[str]) -> str:
    """Return which caption files belong to no image."""
    subject = counted(len(names), "caption file", "is", "are")
    return f"{subject} not used: {listed(names)}. No image has this name, or another file is the image's caption."


def without_trigger_message(names: Sequence[str], trigger: str) -> str:
    """Return which images' captions do not contain the trigger word."""
    subject = counted(len(names), "caption", "does", "do")
    return f"{subject} not contain the trigger word “{trigger.strip()}”: {listed(names)}."


def not_files_message(names: Sequence[str]) -> str:
    """Return which entries have an image's name and are left out because they are not files; "" without any."""
    if not names:
        return ""
    subject = "1 entry with an image's name is" if len(names) == 1 else f"{len(names)} entries with an image's name are"
    return f"{subject} left out, because a folder, pipe, device or broken link is not read: {listed(names)}."


def _left_out(names: tuple[str, ...]) -> str:
    endings = Counter(PurePath(name).suffix.lower() or "no ending" for name in names)
    numbers = ", ".join(f"{number} {ending}" for ending, number in endings.most_common())
    return f"{counted(len(names), 'file', 'is', 'are')} left out ({numbers}), because this format is not read: {listed(names)}."


def _folders(subfolders: Mapping[str, int]) -> str:
    return listed(f"{counted(number, 'image')} in {name}" for name, number in sorted(subfolders.items()))


def no_images_message(subfolders: Mapping[str, int]) -> str:
    """Return why a folder has nothing to train on: what was found in its subfolders, and how to use it. "" if nothing was found."""
    if not subfolders:
        return ""
    sentence = (
        f"The folder itself holds no images, but {'there is' if sum(subfolders.values()) == 1 else 'there are'} {_folders(subfolders)}."
    )
    matches = sorted(filter(None, map(kohya_folder, subfolders)), key=lambda match: (not match.num_repeats, match.name))
    kohya = next(iter(matches), None)
    if kohya is None:
        return f"{sentence} Choose that folder."
    choice = " with ".join(filter(None, (kohya.name, _usable_settings(kohya))))
    return " ".join(filter(None, (f"{sentence} {kohya.name} has kohya's form: choose {choice}.", out_of_range_message(kohya))))


def out_of_range_message(kohya: KohyaFolder) -> str:
    """Return that the repeats in a folder's name cannot be used, "" if they can."""
    if 1 <= kohya.num_repeats <= MAX_REPEATS:
        return ""
    return (
        f"The {counted(kohya.num_repeats, 'repeat')} in the name {kohya.name} are out of range: enter a number from 1 to {MAX_REPEATS:,}."
    )


def _usable_settings(kohya: KohyaFolder) -> str:
    """Return the settings in a folder's name that can be entered: repeats within the limits, and a trigger word."""
    repeats = "" if out_of_range_message(kohya) else f"{counted(kohya.num_repeats, 'repeat')} per image"
    trigger = f"the trigger word “{kohya.class_tokens.strip()}”" if kohya.class_tokens.strip() else ""
    return " and ".join(filter(None, (repeats, trigger)))


def cut_captions_message(lengths: Mapping[str, int], limit: int) -> str:
    """Return which captions the text encoder cuts: their lengths in tokens by image, those over the limit only; "" if none is."""
    cut = {name: number - limit for name, number in sorted(lengths.items()) if number > limit}
    if not cut:
        return ""
    subject = counted(len(cut), "caption", "is", "are")
    return f"{subject} longer than the {limit} tokens that T5 reads; what is cut off: {listed(f'{number} tokens of {name}' for name, number in cut.items())}."
