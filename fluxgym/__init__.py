"""FluxGym: train a FLUX.1 LoRA from a few images, and never lose a run."""

__version__ = "0.1.0"
