"""The console: pages that show and operate everything an engine stores, mounted in one's own service.

    app.mount("/statechain", statechain.console.app(engine, access=who_may))

Its libraries come with the extra ``console``.
"""

from __future__ import annotations

from statechain.console.access import ADMINISTRATOR, OPERATOR, READER, VERBS, Access, Grant, loopback
from statechain.console.application import app

__all__ = ["ADMINISTRATOR", "OPERATOR", "READER", "VERBS", "Access", "Grant", "app", "loopback"]
