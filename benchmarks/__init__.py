"""Measures Penstock beside the bare limit, in the same run and on the same machine: ``scripts/bench``.

``limit_redis.py`` and ``limit_sqlite.py`` are the limit: bare loops without an engine. ``noop_app.py`` and its
siblings are the applications that a real worker runs. The rows of the table stand in a module for each subject
(``drain``, ``producing``, ``latency``, ``footprint``, ``trips``, ``backlog``); ``report.py`` writes them down.
"""
