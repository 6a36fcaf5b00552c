"""Explainers as differentiable functions of the pixels, one form per family."""
