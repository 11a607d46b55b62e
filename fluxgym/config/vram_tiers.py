"""The VRAM tiers: FluxGym's three, flag for flag, and three more; the trainer options that each adds or leaves out."""

from collections.abc import Mapping

ADAMW8BIT: Mapping[str, tuple[str, ...] | None] = {"--optimizer_type": ("adamw8bit",)}
ADAFACTOR: Mapping[str, tuple[str, ...] | None] = {
    "--optimizer_type": ("adafactor",),
    "--optimizer_args": ("relative_step=False", "scale_parameter=False", "warmup_init=False"),
    "--lr_scheduler": ("constant_with_warmup",),
    "--max_grad_norm": ("0.0",),
}
TIERS: Mapping[str, Mapping[str, tuple[str, ...] | None]] = {
    "24G": ADAMW8BIT,
    "20G": ADAMW8BIT,
    "16G": ADAFACTOR,
    "12G": {**ADAFACTOR, "--split_mode": None, "--network_args": ("train_blocks=single",)},
    "10G": {
        **ADAFACTOR,
        "--blocks_to_swap": ("22",),
    },  # kohya's advice for these two cards, in kohya's unit, which the trainer's placement explains
    "8G": {**ADAFACTOR, "--blocks_to_swap": ("28",)},
}
WITHOUT: Mapping[str, tuple[str, ...]] = {"24G": ("--fp8_base",)}
TITLES = {
    "24G": "Card above 24 GB (24G)",
    "20G": "20 or 24 GB card (20G)",
    "16G": "16 GB card (16G)",
    "12G": "12 GB card (12G)",
    "10G": "10 GB card (10G)",
    "8G": "8 GB card (8G)",
}
DESCRIPTIONS = {
    "24G": "AdamW in 8 bits, the model in full bf16; its weights alone are 22 GiB, so for cards of more than 24 GB",
    "20G": "AdamW in 8 bits, the model in float8",
    "16G": "Adafactor, the model in float8",
    "12G": "Adafactor, float8, single blocks only, 9 double and 18 single blocks swapped to main memory",
    "10G": "Adafactor, float8, 11 double and 22 single blocks swapped to main memory",
    "8G": "Adafactor, float8, 14 double and 28 single blocks swapped to main memory",
}


def is_above(tier: str, memory_gib: float) -> bool:
    """Return True if a tier needs more than a card's memory in GiB; a card of 16 GB shows a little less, and 24G is for cards above 24 GB."""
    needed = int(tier.removesuffix("G"))
    return round(memory_gib) < needed or (tier == "24G" and round(memory_gib) == needed)


def best_tier(memory_gib: float) -> str | None:
    """Return the fastest tier for a card's memory in GiB, None if it is too small for all."""
    return next((tier for tier in TIERS if not is_above(tier, memory_gib)), None)


def tier_of(options: Mapping[str, tuple[str, ...] | None]) -> str | None:
    """Return the tier that a command's options are from, None if it has no tier's optimizer.

    An option of a tier may have been replaced by another value, so the tier with the most options in common is returned.
    """
    is_float8 = "--fp8_base" in options
    fits = [
        tier for tier, added in TIERS.items()
        if options.get("--optimizer_type") == added["--optimizer_type"] and is_float8 is ("--fp8_base" not in WITHOUT.get(tier, ()))
    ] or [tier for tier, added in TIERS.items() if options.get("--optimizer_type") == added["--optimizer_type"]]  # fmt: skip
    return max(fits, key=lambda tier: _num_common(options, TIERS[tier]), default=None)


def _num_common(options: Mapping[str, tuple[str, ...] | None], added: Mapping[str, tuple[str, ...] | None]) -> int:
    """Return how many of a tier's options a command has, minus the number of those that it lacks or has with another value."""
    return sum(1 if flag in options and options[flag] == values else -1 for flag, values in added.items())
