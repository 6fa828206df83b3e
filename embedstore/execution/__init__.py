"""Executors: work over tasks in this process (`serial`) or in several (`pool`)."""
