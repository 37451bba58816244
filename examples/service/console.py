"""The order service with the console beside it, for those who log in by a password.

    CONSOLE_USERS=ann:secret:operator,bea:hidden:administrator uvicorn console:app --app-dir examples/service

The console has no login: the service decides who may do what. Here that is HTTP's Basic authentication; a
service with sessions would look at its own session instead.
"""

import base64
import binascii
import os
import secrets

import app as service
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Mount

from statechain import console

ROLES = {"reader": console.READER, "operator": console.OPERATOR, "administrator": console.ADMINISTRATOR}


def users() -> dict[str, tuple[str, str]]:
    """Return passwords and roles by the users' names; without CONSOLE_USERS there are none."""
    entries = (entry.split(":") for entry in os.environ.get("CONSOLE_USERS", "").split(",") if entry)
    return {name: (password, role) for name, password, role in entries}


def who_may(request: Request) -> console.Grant:
    """Return what a request's user may do; ask for a password where there is none, or a wrong one."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    try:
        name, _, given = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        name = given = ""
    password, role = users().get(name, ("", ""))
    is_right = secrets.compare_digest(given.encode(), password.encode())
    if scheme.lower() != "basic" or not password or not is_right:
        raise HTTPException(401, headers={"WWW-Authenticate": 'Basic realm="console"'})
    return console.Grant(ROLES[role], user=name)


app = Starlette(
    routes=[
        Mount("/statechain", console.app(lambda request: request.state.engine, access=who_may)),
        *service.app.routes,
    ],
    exception_handlers=service.app.exception_handlers,
    lifespan=service.lifespan,
)
