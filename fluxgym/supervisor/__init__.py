"""The process beside each run: starts the trainer, watches it, records the outcome."""
