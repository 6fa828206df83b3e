"""The demonstration: a synthetic cohort, real images out of installed packages, the story told on both."""
