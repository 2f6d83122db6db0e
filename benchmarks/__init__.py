"""Speed and memory, measured against the peers installed beside xctx, in one run: ``python -m benchmarks``."""
