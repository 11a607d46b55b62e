"""Tests that files, processes and results of the code before the restructuring still work; see README.md."""
