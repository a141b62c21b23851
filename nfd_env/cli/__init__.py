"""The command line, ``nfd``: a table of commands whose modules load only when asked for."""
