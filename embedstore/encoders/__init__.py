"""From pixels and texts to a network's input, and the tiny reference encoder; no torch here."""
