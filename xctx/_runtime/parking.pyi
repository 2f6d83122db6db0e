# Its waiters are for the compiled rooms alone.
