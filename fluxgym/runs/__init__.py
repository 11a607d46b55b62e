"""The run folder on disk: paths, files, process identity, state, progress, status."""
