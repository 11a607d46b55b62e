"""The run folder: what lies where, who may write it, and what it says about a run. Standard library and psutil only."""
