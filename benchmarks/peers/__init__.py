"""Other libraries at the same work: each in an environment of its own, on the same Redis server.

``table`` says which there are and how each is started; ``*_app`` is each one's application as its own documentation
would write it; ``command`` is ``scripts/bench peers``. What runs in a library's environment (the applications,
``marks``, ``settings`` and ``produce``) imports nothing of Penstock.

Whatever else wants to run one (in each call ``setting`` is one of ``peer.settings``, ``kind`` one of ``KINDS``)::

    programs = peer.environment()                            # makes it, or raises Absent with the reason
    env = environment(url, told(setting, kind, url))         # children.environment, running.told
    worker = peer.worker(setting, kind, programs, url)       # its command line; from the top of the checkout
    running.produce(peer, setting, programs, url, "fill", kind, count)

With ``PEERS_MARKS`` naming a file that ``marks.Marks`` has made, the jobs tell in it what they did.
"""
