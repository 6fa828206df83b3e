"""Frozen records and Protocols: the words that every room shares. Only numpy is imported here."""
