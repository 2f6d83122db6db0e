"""Execution-context toolkit."""
