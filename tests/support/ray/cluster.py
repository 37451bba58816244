"""A Ray cluster of this machine for a test, which leaves nothing behind, no token in the user's folder either."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

__all__ = ["ray_cluster"]


@asynccontextmanager
async def ray_cluster(environment: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a cluster whose processes have these variables.

    They inherit them from this process. In a ``runtime_env`` they would be for other processes than those with which
    Ray begins, and those would have been started for nothing.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment, "RAY_AUTH_MODE": "disabled"}.items():  # else it writes ~/.ray/auth_token
            patch.setenv(name, value)
        import ray

        await asyncio.to_thread(ray.init, num_cpus=2, include_dashboard=False, log_to_driver=False)
        try:
            yield
        finally:
            await asyncio.to_thread(ray.shutdown)
