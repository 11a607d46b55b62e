"""The plan of a training run, computed once before Start, and its checks."""
