"""The order service with the console beside it: a password is asked for, and decides what may be done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SERVICE = Path(__file__).parents[2] / "examples" / "service"
PROGRAM = """
import httpx
from console import app
from starlette.testclient import TestClient

with TestClient(app) as web:
    assert web.get("/statechain/").status_code == 401
    assert web.get("/statechain/", auth=("ann", "wrong")).status_code == 401
    assert web.get("/statechain/", auth=("nobody", "")).status_code == 401
    shown = web.get("/statechain/machines", auth=("ann", "secret"))
    assert "orders" in shown.text, shown.text
    assert web.post("/orders", json={"id": 1, "total": 5}).status_code == 202
    form = {"action": "delete", "scope": "all"}
    sent = {"Sec-Fetch-Site": "same-origin"}
    path = "/statechain/executions/selected"
    assert web.post(path, data=form, headers=sent, auth=("ann", "secret")).status_code == 403
    assert web.post(path, data=form, headers=sent, auth=("bea", "hidden")).status_code == 200
"""


def test_the_console_is_mounted_with_passwords(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "CONSOLE_USERS": "ann:secret:operator,bea:hidden:administrator",
        "DATABASE_URL": f"sqlite:///{tmp_path}/orders.db",
        "OUTBOX": str(tmp_path / "outbox.jsonl"),
        "PYTHONPATH": str(SERVICE),
        "PACK_SECONDS": "0",
    }
    done = subprocess.run(  # noqa: PLW1510 -- what it wrote is the message
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
