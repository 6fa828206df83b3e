"""The vector truth: SQL metadata, checksummed segments and the change log. SQLAlchemy lives here alone."""
