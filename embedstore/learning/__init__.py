"""Learning on stored vectors and reports: bridges, zero-shot labels, votes, label models, linear heads.

Pure functions on arrays: no SQL, no torch, no files but the YAML a user writes.
"""
