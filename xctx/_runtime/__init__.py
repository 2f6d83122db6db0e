"""Under all: what the rooms need of the platform and of CPython, the cache of "now", and how functions are run."""
