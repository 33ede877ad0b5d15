"""Pure rules and values: no asyncio, no threads, no sockets, no clock, no driver."""
