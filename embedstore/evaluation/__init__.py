"""How good is it, and how sure are we: splits, metrics and patient-clustered intervals on plain arrays."""
