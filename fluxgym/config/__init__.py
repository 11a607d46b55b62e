"""Settings of a training run, VRAM tiers and trainer flags as data."""
