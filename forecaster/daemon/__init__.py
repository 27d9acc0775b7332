"""The daemon: observe, plan, act, retrain, on a schedule; survives a lost database and tier."""
