"""The recipe of the pocket Flux: pictures, tokenizers, and the pretraining that made models/pocket/."""
