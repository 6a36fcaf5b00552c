"""Attacks on the maps of many images."""
