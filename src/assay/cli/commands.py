"""Imports every command's module, which registers the command on the application."""

from assay.cli import audit, bench, data, demo, explain, train

__all__ = ["audit", "bench", "data", "demo", "explain", "train"]
