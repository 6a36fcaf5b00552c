"""Bounds on how far an explanation can be moved that no attack can beat."""
