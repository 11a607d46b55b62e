"""Limits of settings and names that the form, the app's checks and the trainer share, and those above which a value gets a warning."""

MAX_NAME_BYTES = 255  # of a file's name, on every common file system
MAX_GIVEN_NAME_BYTES = 200  # of a name that users choose; leaves room for what is added to it
MAX_CAPTION_BYTES = 80_000  # largest caption file; text encoders read 512 tokens
MAX_RANK = 4096  # FLUX is 3072 wide: a higher rank adds nothing
MAX_SWAPPED = 35  # kohya's maximum for --blocks_to_swap: 17 of 19 double blocks and 36 of 38 single blocks
MAX_REPEATS = 10_000  # uses of an image per epoch
MAX_EPOCHS = 100_000
MAX_STEPS = 10_000_000  # months of training
MAX_BATCH = 4096  # images per step; a batch of FLUX that fills the largest GPU has a few dozen
MAX_SEED = 2**63 - 1
MAX_DROPOUT = 0.999999  # a higher rate drops every value of a step: random numbers have 24 bits
MAX_SIDE = 16_384  # pixels per side of a bucket: twice the trainer's highest resolution
MAX_TIMESTEP = 1000  # noise levels are counted from 0 to 1000
MAX_TOKENS = 4096  # of a caption; FLUX was made with 512
MODEL_PIXELS = 2 * 2**20  # of an image; FLUX.1 was trained with up to 2 megapixels
MANY_STEPS = 50_000  # ten times what a LoRA usually needs
MANY_REPEATS = 1000
