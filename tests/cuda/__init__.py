"""A caller's memory on a GPU, and a library that stands in for NVIDIA's where there is no GPU."""
