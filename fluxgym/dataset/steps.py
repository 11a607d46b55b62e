"""How many steps a training will have: batches by bucket, regularisation pictures included, those held out left out, as the trainer counts."""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

from fluxgym.config.train_config import TrainConfig
from fluxgym.dataset.buckets import Size, buckets_of
from fluxgym.dataset.toml import buckets_on


def expected_steps(config: TrainConfig, pictures: Sequence[Size], regularisation: Sequence[Size] = ()) -> int:
    """Return the number of optimizer steps for pictures of these sizes (width, height), in the order of their names; 0 without pictures."""
    held_out = _held_out(config, len(pictures))
    pictures = [size for place, size in enumerate(pictures) if place not in held_out]
    if not pictures:
        return 0
    total = len(pictures) * config.num_repeats
    used = regularisation[:total]
    share, more = divmod(total, len(used)) if used else (0, 0)  # the first few are seen once more than the rest
    counts: Counter[Size] = Counter()
    for sizes, repeats in ((pictures, config.num_repeats), (used, share), (used[:more], 1)):
        found = buckets_of(sizes, config.resolution, config.advanced, enable_bucket=buckets_on(config))
        counts.update({bucket: number * repeats for bucket, number in found.items()})
    batch = int(config.advanced.get("train_batch_size", 1))
    batches = sum(math.ceil(count / batch) for count in counts.values())
    per_epoch = math.ceil(batches / int(config.advanced.get("gradient_accumulation_steps", 1)))
    return per_epoch * config.max_train_epochs


def _held_out(config: TrainConfig, count: int) -> set[int]:
    """Return which of `count` pictures the trainer holds out for validation: a share, drawn by the seed and the place alone."""
    num = count - math.ceil(round(count * (1 - float(config.advanced.get("validation_split", 0.0))), 6))
    seed = config.advanced.get("validation_seed", config.seed)

    def drawn(place: int) -> int:
        return int.from_bytes(hashlib.sha256(f"{seed}/validation/{place}".encode()).digest()[:8], "big") >> 1

    return set(sorted(range(count), key=drawn)[:num])
