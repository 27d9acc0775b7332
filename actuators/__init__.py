"""Tidegate's hands: the serving tiers that carry out a tide table. They know `forecaster.domain` only."""

import os

# We fork to run other programs only. gRPC's own handlers around a fork run in the child before it, write to its
# stderr and now and then hang there: they are for those who go on speaking gRPC in a child.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
