"""Trainable networks over frozen models (LoRA and LyCORIS), and the LoRA commands."""
