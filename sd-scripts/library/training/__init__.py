"""The training run: setup, loop, hooks, checkpoints, metadata, reports."""
