"""The parts that everything else stands on: specs, seeds, chunks, input checks."""
