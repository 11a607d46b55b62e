"""Captions: read beside their pictures, and changed per step as the data set's options want.

Every random choice comes from a generator of (seed, epoch, place), so that a resumed training sees the same words.
"""

import re
from pathlib import Path

import torch

from library.dataset_config import Subset
from library.errors import TrainerError


def read_caption(picture: Path, subset: Subset) -> str:
    """Return a picture's caption: the file of the same name, else class_tokens. All its lines with enable_wildcard, else the first.

    Raises TrainerError when the file is not UTF-8 text.
    """
    path = picture.with_suffix(subset.caption_extension)
    if not path.is_file():
        return subset.class_tokens
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise TrainerError(f"the caption {path} is not UTF-8 text; save it as UTF-8.") from None
    except OSError as error:
        raise TrainerError(f"the caption {path} cannot be read: {error.strerror}.") from None
    return "\n".join(lines if subset.enable_wildcard else lines[:1])


def caption_at(caption: str, subset: Subset, epoch: int, random: torch.Generator) -> str:
    """Return the words of one step: prefix and suffix, wildcards, shuffling, dropout. Epochs count from 0 here, in kohya's options from 1."""
    if _is_dropped(subset, epoch, random):
        return ""
    if subset.enable_wildcard:
        caption = _without_wildcards(caption, random)
    caption = " ".join(part for part in (subset.caption_prefix, caption, subset.caption_suffix) if part)
    if subset.shuffle_caption or subset.caption_tag_dropout_rate:
        caption = _shuffled(caption, subset, random)
    if subset.secondary_separator:
        caption = caption.replace(subset.secondary_separator, subset.caption_separator)
    return caption


def _is_dropped(subset: Subset, epoch: int, random: torch.Generator) -> bool:
    by_chance = subset.caption_dropout_rate > 0 and torch.rand((), generator=random).item() < subset.caption_dropout_rate
    every = subset.caption_dropout_every_n_epochs
    return by_chance or bool(every and (epoch + 1) % every == 0)


def _without_wildcards(caption: str, random: torch.Generator) -> str:
    """Choose one line, and one of each {a|b|c}."""

    def choose(options: list[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=random))]

    line = choose(caption.split("\n"))
    return re.sub(r"\{([^{}]*)\}", lambda match: choose(match[1].split("|")), line)


def _shuffled(caption: str, subset: Subset, random: torch.Generator) -> str:
    """Shuffle and drop tags, except the first keep_tokens, or what stands before (and after a second) keep_tokens_separator."""
    separator = subset.keep_tokens_separator
    if separator and separator in caption:
        fixed, flexible, *last = caption.split(separator, 2)
        kept, tags, tail = _tags(fixed, subset), _tags(flexible, subset), _tags(last[0], subset) if last else []
    else:
        words = _tags(caption, subset)
        kept, tags, tail = words[: subset.keep_tokens], words[subset.keep_tokens :], []
    if subset.shuffle_caption:
        tags = [tags[index] for index in torch.randperm(len(tags), generator=random)]
    if subset.caption_tag_dropout_rate:
        chances = torch.rand(len(tags), generator=random)
        tags = [tag for tag, chance in zip(tags, chances, strict=True) if chance >= subset.caption_tag_dropout_rate]
    return f"{subset.caption_separator} ".join(kept + tags + tail)


def _tags(text: str, subset: Subset) -> list[str]:
    return [tag for part in text.split(subset.caption_separator) if (tag := part.strip())]
