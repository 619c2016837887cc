"""The private LoRA step beside Opacus and the non-private step, on a CPU: `python -m bench.kernels_cpu`."""
