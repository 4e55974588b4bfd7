"""Fronts: what speaks gRPC on the inference port. All of them stand behind the seam in `seam.py`."""
