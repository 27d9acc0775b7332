"""Units that are models on somebody's Open Inference servers: Triton, MLServer, KServe."""
