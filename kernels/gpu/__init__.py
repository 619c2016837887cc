"""The Triton kernels: one file per operation, holding the kernel and its launcher (the clipped sum has two, since it
takes several kernels).

Imported only when tensors live on a GPU or a test asks for Triton's interpreter, so that a machine without Triton
runs the PyTorch versions. Every launcher takes and gives plain tensors, allocates what it returns, and never decides
which implementation runs: that is `kernels.backend`'s work.
"""
