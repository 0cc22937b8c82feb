"""Row kernels for the CPU, compiled with numba; one module a family, with the names and signatures of those for GPUs."""
