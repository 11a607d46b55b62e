"""The table of VRAM choices: FluxGym's three, flag for flag, and three more, from large to small."""

from collections.abc import Mapping
from dataclasses import dataclass

TierOptions = Mapping[str, tuple[str, ...] | None]

ADAMW8BIT: TierOptions = {"--optimizer_type": ("adamw8bit",)}
ADAFACTOR: TierOptions = {
    "--optimizer_type": ("adafactor",),
    "--optimizer_args": ("relative_step=False", "scale_parameter=False", "warmup_init=False"),
    "--lr_scheduler": ("constant_with_warmup",),
    "--max_grad_norm": ("0.0",),
}


@dataclass(frozen=True, kw_only=True)
class Tier:
    """A VRAM choice: its name in ui_state.json, its texts, and the options that it adds to the trainer's or leaves out.

    options maps a flag to its values, None for a switch.
    """

    name: str
    title: str
    description: str
    options: TierOptions
    without: tuple[str, ...] = ()


TIERS: Mapping[str, Tier] = {
    tier.name: tier
    for tier in (
        Tier(
            name="24G",
            title="Card above 24 GB (24G)",
            description="AdamW in 8 bits, the model in full bf16; its weights alone are 22 GiB, so for cards of more than 24 GB",
            options=ADAMW8BIT,
            without=("--fp8_base",),
        ),
        Tier(name="20G", title="20 or 24 GB card (20G)", description="AdamW in 8 bits, the model in float8", options=ADAMW8BIT),
        Tier(name="16G", title="16 GB card (16G)", description="Adafactor, the model in float8", options=ADAFACTOR),
        Tier(
            name="12G",
            title="12 GB card (12G)",
            description="Adafactor, float8, single blocks only, 9 double and 18 single blocks swapped to main memory",
            options={**ADAFACTOR, "--split_mode": None, "--network_args": ("train_blocks=single",)},
        ),
        # --blocks_to_swap of the next two is kohya's advice for these cards, in kohya's unit, which the trainer's placement explains.
        Tier(
            name="10G",
            title="10 GB card (10G)",
            description="Adafactor, float8, 11 double and 22 single blocks swapped to main memory",
            options={**ADAFACTOR, "--blocks_to_swap": ("22",)},
        ),
        Tier(
            name="8G",
            title="8 GB card (8G)",
            description="Adafactor, float8, 14 double and 28 single blocks swapped to main memory",
            options={**ADAFACTOR, "--blocks_to_swap": ("28",)},
        ),
    )
}


def is_above(tier: str, memory_gib: float) -> bool:
    """Return True if a tier needs more than a card's memory in GiB; a card of 16 GB shows a little less, and 24G is for cards above 24 GB."""
    needed = int(tier.removesuffix("G"))
    return round(memory_gib) < needed or (tier == "24G" and round(memory_gib) == needed)


def best_tier(memory_gib: float) -> str | None:
    """Return the fastest tier for a card's memory in GiB, None if it is too small for all."""
    return next((tier for tier in TIERS if not is_above(tier, memory_gib)), None)


def tier_of(options: TierOptions) -> str | None:
    """Return the tier that a command's options are from, None if it has no tier's optimizer.

    An option of a tier may have been replaced by another value, so the tier with the most options in common is returned.
    """
    optimizer = options.get("--optimizer_type")
    same_optimizer = [tier for tier in TIERS.values() if tier.options["--optimizer_type"] == optimizer]
    same_precision = [tier for tier in same_optimizer if ("--fp8_base" in options) is ("--fp8_base" not in tier.without)]
    best = max(same_precision or same_optimizer, key=lambda tier: _num_common(options, tier.options), default=None)
    return None if best is None else best.name


def _num_common(options: TierOptions, added: TierOptions) -> int:
    """Return how many of a tier's options a command has, minus the number of those that it lacks or has with another value."""
    return sum(1 if flag in options and options[flag] == values else -1 for flag, values in added.items())
