"""A checkout of kohya-ss/sd-scripts as the trainer."""
