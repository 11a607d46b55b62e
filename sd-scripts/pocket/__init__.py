"""The recipe of the pocket Flux: images, tokenizers, and the pretraining that made models/pocket/."""
