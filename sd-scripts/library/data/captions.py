"""Captions: read next to their images, and changed per step by the data set's options.

Every random choice comes from a generator of (seed, epoch, batch index), so that a resumed training sees the same captions.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

import torch

from fluxgym.contract.caption_files import decode_caption, trained_text
from fluxgym.contract.dataset_notes import undecodable_message
from fluxgym.contract.limits import MAX_CAPTION_BYTES
from fluxgym.contract.regular_files import read_regular
from library.data.schema import Subset
from library.errors import TrainerError

OPEN, CLOSE = "\ue000", "\ue001"  # stand for escaped braces; private-use characters


@dataclass(frozen=True)
class CaptionContext:
    """The position in the training that token_warmup_step and dropout depend on. Epoch and step count from 0."""

    epoch: int = 0
    step: int = 0
    total_steps: int = 1


def read_caption(path: Path | None, subset: Subset) -> str:
    """Return what is trained of a caption file: all its lines, joined by spaces or, with enable_wildcard, as alternatives.

    Without a file, or if it has no words, return class_tokens.

    Raises:
        TrainerError: If the file's encoding is not known.
    """
    if path is None:
        return subset.class_tokens
    try:
        text = decode_caption(read_regular(path, MAX_CAPTION_BYTES, follow_links=True))
    except UnicodeDecodeError:
        sentence = undecodable_message(str(path))
        raise TrainerError(f"{sentence[0].lower()}{sentence[1:]}") from None
    except OSError as error:
        raise TrainerError(f"the caption {path} cannot be read: {error.strerror}.") from None
    return trained_text(text, wildcards=subset.enable_wildcard) or subset.class_tokens


def caption_at(caption: str, subset: Subset, random: torch.Generator, context: CaptionContext) -> str:
    """Return a caption as one step sees it: dropout, wildcards, prefix and suffix, tag warm-up, shuffling and dropout, separators."""
    if _is_dropped(subset, context.epoch, random):
        return ""
    if subset.enable_wildcard:
        caption = _choose(caption.split("\n"), random)
    caption = " ".join(part for part in (subset.caption_prefix, caption, subset.caption_suffix) if part)
    if subset.enable_wildcard:
        caption = _without_wildcards(caption, random)
    if subset.shuffle_caption or subset.caption_tag_dropout_rate or subset.token_warmup_step:
        caption = _changed_tags(caption, subset, random, context)
    if subset.secondary_separator:
        caption = caption.replace(subset.secondary_separator, subset.caption_separator)
    return caption


def _is_dropped(subset: Subset, epoch: int, random: torch.Generator) -> bool:
    by_chance = subset.caption_dropout_rate > 0 and torch.rand((), generator=random).item() < subset.caption_dropout_rate
    every = subset.caption_dropout_every_n_epochs
    return by_chance or bool(every and (epoch + 1) % every == 0)  # kohya counts epochs from 1


def _choose(options: list[str], random: torch.Generator) -> str:
    return options[int(torch.randint(len(options), (), generator=random))]


def _without_wildcards(caption: str, random: torch.Generator) -> str:
    """Choose one of each {a|b|c}; doubled braces become single ones."""
    caption = caption.replace("{{", OPEN).replace("}}", CLOSE)
    caption = re.sub(r"\{([^}]+)\}", lambda match: _choose(match[1].split("|"), random), caption)
    return caption.replace(OPEN, "{").replace(CLOSE, "}")


def _changed_tags(caption: str, subset: Subset, random: torch.Generator, context: CaptionContext) -> str:
    """Truncate to the warm-up's length, shuffle and drop tags, except for the kept ones; joined by ", " as in kohya."""
    kept, tags, tail = _parts(caption, subset)
    tags = tags[: _num_tags(len(tags), subset, context)]
    if subset.shuffle_caption:
        tags = [tags[index] for index in torch.randperm(len(tags), generator=random)]
    if subset.caption_tag_dropout_rate:
        chances = torch.rand(len(tags), generator=random)
        tags = [tag for tag, chance in zip(tags, chances, strict=True) if chance >= subset.caption_tag_dropout_rate]
    return ", ".join(kept + tags + tail)


def _parts(caption: str, subset: Subset) -> tuple[list[str], list[str], list[str]]:
    """Split tags into kept ones at the front, changeable ones, and kept ones at the end.

    The first keep_tokens are kept, or those before the first keep_tokens_separator and after the second.
    """
    separator = subset.keep_tokens_separator
    if separator and separator in caption:
        fixed, flexible, *last = caption.split(separator, 2)
        return _tags(fixed, subset), _tags(flexible, subset), _tags(last[0], subset) if last else []
    words = _tags(caption, subset)
    return words[: subset.keep_tokens], words[subset.keep_tokens :], []


def _num_tags(count: int, subset: Subset, context: CaptionContext) -> int:
    """Return the number of tags of a step: from token_warmup_min to all at token_warmup_step, which below 1 is a share of all steps."""
    length = subset.token_warmup_step
    steps = math.floor(length * context.total_steps) if length < 1 else length
    if not steps or context.step >= steps:
        return count
    return max(0, math.floor(context.step * (count - subset.token_warmup_min) / steps) + subset.token_warmup_min)


def _tags(text: str, subset: Subset) -> list[str]:
    return [tag for part in text.split(subset.caption_separator) if (tag := part.strip())]
