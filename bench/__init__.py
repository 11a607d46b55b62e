"""Measurements: each figure is next to a peer or a limit that was measured in the same run."""
