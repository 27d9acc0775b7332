"""A model file in, a measured unit type out: what `tidegate deploy` does to a model."""
