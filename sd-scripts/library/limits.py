"""The largest numbers that a training can use."""

MAX_LEARNING_RATE = 1e30  # Prodigy's factors are around 1; a rate far beyond overflows float32
MAX_OPTIMIZER_NUMBER = 1e30  # of --optimizer_args and --lr_scheduler_args
MAX_RATE_RATIO = 1e6  # of two learning rates; MAX_LEARNING_RATE times this, and times 10 in Adam's first step, is within float32
MAX_SETTING = 1e6  # far beyond any that is useful; from about 1e38 on, float32 overflows and the loss is not a number
MAX_SCALE = 1e30  # of settings that multiply or limit tensors, such as --guidance_scale and --max_grad_norm
