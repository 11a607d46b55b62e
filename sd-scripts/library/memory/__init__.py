"""Where weights and activations lie, and in which precision."""
