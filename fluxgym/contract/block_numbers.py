"""Which blocks of FLUX.1 a LoRA trains, by their numbers, as kohya's --network_args write them: "all", "none" or "0-3,8"."""

import re
from collections.abc import Iterable, Mapping

# The keys of --network_args, and the blocks that they choose from: the names of their tensors in BFL's files and in diffusers'.
INDICES: Mapping[str, re.Pattern[str]] = {
    "train_double_block_indices": re.compile(r"(?:^|\.)(?:double_blocks|transformer_blocks)\.(\d+)\."),
    "train_single_block_indices": re.compile(r"(?:^|\.)(?:single_blocks|single_transformer_blocks)\.(\d+)\."),
}


def count_blocks(key: str, names: Iterable[str]) -> int:
    """Return how many blocks a transformer with tensors of these names has, of the type that a key of INDICES selects."""
    found = (INDICES[key].search(name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def block_numbers(text: str, num_blocks: int) -> set[int]:
    """Return the chosen numbers.

    Raises:
        ValueError: For another form, or a block that the model does not have; the message has the remedy.
    """
    if text == "all":
        return set(range(num_blocks))
    chosen: set[int] = set()
    for part in filter(None, (part.strip() for part in ("" if text == "none" else text).split(","))):
        match = re.fullmatch(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", part)
        if match is None:
            raise ValueError('write block numbers such as "0-3,8", "all" or "none"')
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < num_blocks:
            raise ValueError(f"the model's blocks are 0 to {num_blocks - 1}")
        chosen |= set(range(first, last + 1))
    return chosen
