"""Pretraining of the pocket model in models/pocket/: images, tokenizers, VAE and transformer."""
