"""A package, since one of that name comes with opensimplex, which Crafter needs."""
