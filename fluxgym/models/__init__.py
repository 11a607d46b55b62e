"""Base models: catalog, and identification of model files."""
