"""A run's folder: blocks, log, lock, states, settings, verification and comparison."""
