"""The parts of the FLUX.1 LoRA trainer."""
