"""Training of networks: recipes, loops and their randomness."""
