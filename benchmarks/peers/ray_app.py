"""The deployment for Ray Serve: a replica that takes a second to warm up."""

import time

from ray import serve


@serve.deployment(ray_actor_options={"num_cpus": 0.2}, graceful_shutdown_wait_loop_s=0.2)
class Slow:
    def __init__(self):
        time.sleep(1.0)

    async def __call__(self, request):
        return "answered"


app = Slow.bind()
