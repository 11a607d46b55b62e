"""The models that a LoRA can be trained for: what is known of them, and whether their files are here."""
