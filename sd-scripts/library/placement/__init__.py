"""Where weights and activations are, and in which precision."""
