"""Placement of weights and activations: devices, precision, quantization, block swapping and compilation."""
