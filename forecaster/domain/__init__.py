"""The vocabulary: frozen values, ports and errors. Pure: no clock, no I/O, no randomness, no logging."""
