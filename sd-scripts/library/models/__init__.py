"""The frozen models and their files."""
