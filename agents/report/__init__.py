"""Reports that one can look at: plots, films, and a page that holds them all."""
