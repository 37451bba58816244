"""The console mounted in FastAPI and in Litestar: its pages are there, with links below the mount."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from statechain.console import READER, app
from support.console.office import Office, as_user

# Each is imported by its test, not when tests are collected: that is done in each process, and Litestar takes long.


def in_fastapi(console: Any) -> Any:
    from fastapi import FastAPI

    service = FastAPI()
    service.mount("/statechain", console)
    return service


def in_litestar(console: Any) -> Any:
    from litestar import Litestar, asgi

    return Litestar([asgi("/statechain", is_mount=True, copy_scope=True)(console)], openapi_config=None)


@pytest.mark.parametrize("mounted", [in_fastapi, in_litestar])
@pytest.mark.parametrize("root_path", ["", "/behind/proxy"])
async def test_pages_and_actions_are_below_the_mount(office: Office, mounted: Any, root_path: str) -> None:
    service = mounted(app(office.engine, access=as_user(*READER, "stop")))
    transport = httpx.ASGITransport(service, root_path=root_path)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
        first = await web.get(f"{root_path}/statechain/")
        assert first.status_code == 200
        assert f'href="{root_path}/statechain/executions"' in first.text
        found = await web.get(f"{root_path}/statechain/executions?text=order-900")
        assert ">order-900<" in found.text
        assert 'aria-current="page">Executions' in found.text
        assert (await web.get(f"{root_path}/statechain/static/console.css")).status_code == 200
        stop = f"{root_path}/statechain/executions/{office.seen['waiting'].id}/stop"
        assert (await web.post(stop)).status_code == 403
        stopped = await web.post(stop, headers={"Sec-Fetch-Site": "same-origin"})
        assert stopped.headers["location"].startswith(f"{root_path}/statechain/executions/")
    assert (await office.engine.get_execution(office.seen["waiting"].id)).status == "ABORTED"
