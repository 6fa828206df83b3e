"""Contract suites for authors of readers, encoders, indexes and executors."""
