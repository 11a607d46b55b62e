"""Checks before models are loaded: of the network's settings and small files (without PyTorch), then of optimizer, schedule and models."""
