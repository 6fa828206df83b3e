"""Alembic environment; installed as `embedstore.migrations`."""
