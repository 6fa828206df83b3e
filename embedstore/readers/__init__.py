"""Readers: from files to assets, reports and pixels. See `choose.ReaderSet` for the door."""
