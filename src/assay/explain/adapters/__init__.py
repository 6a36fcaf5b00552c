"""Explainers and maps from elsewhere."""
