"""Planning: a forecast and a fleet in, a tide table and one decision out. Pure and replayable."""
