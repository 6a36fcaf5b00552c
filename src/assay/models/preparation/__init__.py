"""A network made ready on a copy: folded, hooked, and proven equal to the user's."""
