"""Changes of many captions at once: a text is added or replaced. A caption that would be too long is refused before it is built."""

from collections.abc import Callable
from dataclasses import dataclass

from fluxgym.dataset.folder import ImageFolder, check_caption, check_caption_length


@dataclass(frozen=True, kw_only=True)
class TextChange:
    """A change of captions: the length that a caption gets, in characters, and the new caption."""

    new_length: Callable[[str], int]
    apply: Callable[[str], str]


def added_text(text: str, *, at_start: bool) -> TextChange:
    """Return the change that adds a text to a caption, with a comma between them."""
    return TextChange(
        new_length=lambda old: len(old) + len(text) + 2 * bool(old),
        apply=lambda old: ", ".join(filter(None, [text, old] if at_start else [old, text])),
    )


def replaced_text(find: str, text: str) -> TextChange:
    """Return the change that replaces a text in a caption."""
    return TextChange(
        new_length=lambda old: len(old) + old.count(find) * (len(text) - len(find)), apply=lambda old: old.replace(find, text)
    )


def changed_captions(folder: ImageFolder, names: list[str], change: TextChange) -> dict[str, str]:
    """Return the new captions of images whose caption changes.

    Raises:
        DatasetError: If one cannot be a caption. A text that would be too long is not built.
    """
    texts = folder.captions().texts
    changed = {}
    for name in filter(texts.__contains__, dict.fromkeys(names)):
        old = texts[name]
        if (length := change.new_length(old)) > len(old):
            check_caption_length(name, length)
        if (new := change.apply(old)) != old:
            check_caption(name, new)
            changed[name] = new
    return changed
