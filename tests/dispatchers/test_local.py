"""The dispatcher inside one event loop."""

from __future__ import annotations

import pytest

from statechain.dispatchers.local import LocalDispatcher
from statechain.testing import DispatcherContract


class TestLocalDispatcher(DispatcherContract):
    @pytest.fixture
    def dispatcher(self) -> LocalDispatcher:
        return LocalDispatcher()
