"""One application for each library, as its documentation would write it: a task that leaves a line as it begins and as
it ends. They run in that library's environment and import nothing of Penstock but its own.

Each has ``enqueue(key, seconds, delay_s)``, plain or as a coroutine, and where the connection needs it ``opened()``.
"""
