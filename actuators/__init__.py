"""Tidegate's hands: the serving tiers that carry out a tide table. They know `forecaster.domain` only."""
