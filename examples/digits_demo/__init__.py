"""Interlock's main job on real data: train, export, register, promote, notice, roll back, without a failed request."""
