"""Carry: snapshots, functions that run bound, what pickles."""
