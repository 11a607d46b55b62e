"""Trainer backends: the built-in trainer and a kohya sd-scripts checkout."""
