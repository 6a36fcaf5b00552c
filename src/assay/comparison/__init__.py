"""Two models, or two states of one, side by side on the same images."""
