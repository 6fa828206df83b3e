"""Nearest-neighbour indexes (caches over stored vectors) and the search loop that keeps their promises."""
