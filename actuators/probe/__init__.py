"""Engines of others, measured from outside: what a step costs, told by when the tokens come."""
