"""Frozen models: pure modules and math, one folder per model family."""
