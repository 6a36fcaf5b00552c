"""Explainers that switch superpixels on and off."""
