"""Imports every command's module, which registers the command on the application."""

from assay.cli import audit, data, demo, explain, train

__all__ = ["audit", "data", "demo", "explain", "train"]
