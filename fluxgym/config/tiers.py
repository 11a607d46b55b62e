"""FluxGym's three VRAM tiers and the flags that each adds to the trainer's command line."""

ADAFACTOR = (
    "--optimizer_type", "adafactor", "--optimizer_args", "relative_step=False", "scale_parameter=False", "warmup_init=False",
    "--lr_scheduler", "constant_with_warmup", "--max_grad_norm", "0.0",
)  # fmt: skip
TIERS: dict[str, tuple[str, ...]] = {
    "20G": ("--optimizer_type", "adamw8bit"),
    "16G": ADAFACTOR,
    "12G": (*ADAFACTOR, "--split_mode", "--network_args", "train_blocks=single"),
}
DESCRIPTIONS = {
    "20G": "AdamW in 8 bits",
    "16G": "Adafactor",
    "12G": "Adafactor, single blocks only, other blocks swapped to host memory",
}
