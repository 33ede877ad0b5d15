"""The application and the worker of the tests of what users hold."""

from __future__ import annotations

from tests.app.conftest import app as app
from tests.app.conftest import working as working
