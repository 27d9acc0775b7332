"""The composition root: the only place that knows the store, the hands and the daemon at once."""
