"""Films of imagined worlds, of any length."""
