"""What the verdict's questions hold a map against, and by which measures they can be asked."""
