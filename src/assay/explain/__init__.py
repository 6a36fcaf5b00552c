"""Explainers: what a model's score owes to each pixel."""
