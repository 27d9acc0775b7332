"""Units that are replicas of Ray Serve deployments."""
