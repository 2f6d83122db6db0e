"""The batch buffer: BatchExecutor."""
