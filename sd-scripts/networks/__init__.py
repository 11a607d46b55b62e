"""Trainable networks that are injected into a frozen model."""
