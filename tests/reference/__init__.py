"""Slow twins of the package's algorithms, written straight from the formulae, and the small networks they are tried on."""
