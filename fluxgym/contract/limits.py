"""Limits of settings that the form, the app's checks and the trainer share."""

MAX_CAPTION_BYTES = 80_000  # largest caption file; text encoders read 512 tokens
MAX_RANK = 4096  # FLUX is 3072 wide: a higher rank adds nothing
MAX_SWAPPED = 35  # kohya's maximum for --blocks_to_swap: 17 of 19 double blocks and 36 of 38 single blocks
MAX_REPEATS = 10_000  # uses of an image per epoch
