"""FLUX.1: transformer, VAE, text encoders, loading, layer names."""
