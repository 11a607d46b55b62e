"""Limits of settings that the form, the app's checks and the trainer share."""

MAX_RANK = 4096  # FLUX is 3072 wide: a higher rank adds nothing
