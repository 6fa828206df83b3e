"""Encoder plugin."""
