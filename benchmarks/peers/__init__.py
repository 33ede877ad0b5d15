"""Other libraries at the same work: each in an environment of its own, on the same Redis server.

``table`` says which there are and how each is started; ``*_app`` is each one's application as its own documentation
would write it; ``command`` is ``scripts/bench peers``. What runs in a library's environment (the applications,
``marks`` and ``produce``) imports nothing of Penstock.
"""
