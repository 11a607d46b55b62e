"""What to train: the settings of a run, the VRAM tiers, and the trainer's flags as data. Pure: no files are written, no process is started."""
