"""The token pass and the controller as CUDA kernels behind a plain C ABI.

``build`` compiles them, for devices or for the CPU; ``binding`` reaches them from Python by
pointer, with tensors of torch or arrays of NumPy. The kernels are in ``fused_rows.cuh``.
"""
