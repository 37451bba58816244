"""A Ray cluster of this machine for a test, which leaves nothing behind, no token in the user's folder either."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

__all__ = ["ray_cluster"]


@asynccontextmanager
async def ray_cluster(environment: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a cluster whose processes have these variables."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else `ray.init` writes ~/.ray/auth_token
    import ray

    await asyncio.to_thread(
        ray.init,
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {**environment, "RAY_AUTH_MODE": "disabled"}},
    )
    try:
        yield
    finally:
        await asyncio.to_thread(ray.shutdown)
