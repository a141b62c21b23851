"""People in imagined worlds: what a window or a recording needs."""
