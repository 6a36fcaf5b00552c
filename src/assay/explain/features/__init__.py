"""Explainers that read a network's layers."""
