"""Recording of real environments."""
