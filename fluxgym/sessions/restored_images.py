"""Where removed images and captions go when they are put back: nothing that came since is replaced or gets another caption."""

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from fluxgym.contract.caption_files import CAPTION, pair_captions
from fluxgym.contract.dataset_rules import is_image_name
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import copy_regular, read_regular
from fluxgym.dataset.file_names import free_stem, taken_stems
from fluxgym.runs.path_checks import is_regular


@dataclass(frozen=True)
class Restored:
    """The new name of each removed file, and the new names of captions whose images get other names."""

    source: Path
    target: Path
    names: Mapping[str, str]
    copies: Mapping[str, Set[str]]

    @classmethod
    def of(cls, source: Path, names: Set[str], target: Path, present: Set[str]) -> "Restored":
        """Return where the files of a folder go in one that has files already."""
        removed = sorted(filter(is_image_name, names))
        captions = pair_captions(names, CAPTION).of
        unfit = _unfit(source, names, target, present)
        moved = {Path(name).stem for name in removed if name in unfit or captions.get(name) in unfit}
        taken, new_names = taken_stems(present | names), {}

        def new_stem(stem: str) -> str:
            free = free_stem(stem, taken, key=str.casefold)
            taken.add(free.casefold())
            return free

        stems = {stem: new_stem(stem) for stem in sorted(moved)}
        copies: dict[str, set[str]] = {}
        for name in removed:
            stem = Path(name).stem
            new_names[name] = stems.get(stem, stem) + Path(name).suffix
            if name in captions:
                copies.setdefault(captions[name], set()).add(stems[stem] + CAPTION if stem in stems else captions[name])
        for name in names - set(removed) - set(copies):
            copies[name] = {new_stem(Path(name).stem) + Path(name).suffix if name in unfit else name}
        return cls(source, target, new_names, copies)

    def put_back(self) -> None:
        """Move the files, captions first, so that an image is never seen without its own.

        Raises:
            OSError: If a file cannot be moved.
        """
        for name, new_names in self.copies.items():
            left = [new for new in sorted(new_names) if not os.path.lexists(self.target / new)]
            for new in left[1:]:
                copy_regular(self.source / name, self.target / new)
            for new in left[:1]:
                (self.source / name).replace(self.target / new)
        for name, new in self.names.items():
            (self.source / name).replace(self.target / new)


def _unfit(source: Path, names: Set[str], target: Path, present: Set[str]) -> set[str]:
    """Return the removed files that cannot have their names: the name is taken, or an image would get another caption."""
    own, before = pair_captions(names, CAPTION).of, pair_captions(present, CAPTION).of
    after = pair_captions(names | present, CAPTION).of
    used = set(own.values())
    unfit = {name for name in names & present if is_image_name(name) or _content(source / name) != _content(target / name)}
    unfit |= {name for name in filter(is_image_name, names) if after.get(name) != own.get(name)}
    for image in filter(is_image_name, present):
        caption = after.get(image)
        if caption is not None and caption != before.get(image) and (image in before or caption in used):
            unfit.add(caption)
    return unfit


def _content(file: Path) -> bytes | None:
    return read_regular(file, MAX_CAPTION_BYTES) if is_regular(file) else None
