"""What the peers serve in `benchmarks.tier_peers`: the same model, each server as its makers advise."""
