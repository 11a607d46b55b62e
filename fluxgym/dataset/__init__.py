"""Training images and captions: checks, the image folder, dataset.toml."""
