"""Tensors in, tensors out: per-sample LoRA gradients, clipping, integer encoding and noise.

Takes and gives plain tensors. Knows nothing of clients, rounds, budgets or files, and never decides whether a
result may be released. `kernels.reference` is the float64 specification that everything else is tested against.
"""

from kernels.clip_rows import clip_rows
from kernels.clip_sum import ClipSum, GaussianNoise, clip_and_sum, clip_and_sum_counted
from kernels.discrete_table import discrete_gaussian_table
from kernels.gaussian import add_gaussian_noise
from kernels.gradient_buffer import GradientBuffer
from kernels.hadamard import rotate, rotated_length, unrotate
from kernels.linear_cross_entropy import linear_cross_entropy
from kernels.lora_conv2d import conv2d_per_sample_grad
from kernels.lora_embedding import embedding_per_sample_grad
from kernels.lora_grad import lora_per_sample_grads, squared_norms
from kernels.lora_linear import lora_linear
from kernels.ring_encode import discrete_gaussian_noise, ring_decode, ring_encode, ring_mask

__all__ = [
    "ClipSum",
    "GaussianNoise",
    "GradientBuffer",
    "add_gaussian_noise",
    "clip_and_sum",
    "clip_and_sum_counted",
    "clip_rows",
    "conv2d_per_sample_grad",
    "discrete_gaussian_noise",
    "discrete_gaussian_table",
    "embedding_per_sample_grad",
    "linear_cross_entropy",
    "lora_linear",
    "lora_per_sample_grads",
    "ring_decode",
    "ring_encode",
    "ring_mask",
    "rotate",
    "rotated_length",
    "squared_norms",
    "unrotate",
]
