"""How many steps a training will have: batches by bucket, regularisation pictures included, as the trainer counts them."""

import math
from collections import Counter
from collections.abc import Sequence

from fluxgym.config.train_config import TrainConfig
from fluxgym.dataset.buckets import Size, buckets_of
from fluxgym.dataset.toml import buckets_on


def expected_steps(config: TrainConfig, pictures: Sequence[Size], regularisation: Sequence[Size] = ()) -> int:
    """Return the number of optimizer steps for pictures of these sizes (width, height); 0 without pictures."""
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
