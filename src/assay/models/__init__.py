"""Models: networks behind one interface, training, checkpoints."""
