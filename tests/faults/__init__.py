"""Faults on purpose: processes killed and frozen, brokers stopped, wires cut, bodies broken. ``scripts/soak`` runs the
same drivers for longer.

    site.py      a broker to be mistreated: an SQLite file or a Redis server
    app.py       the tasks, which leave a line for each start and end; lanes.py: those of the other lanes
    processes.py workers and producers as real processes
    producer.py  enqueues and keeps what was acknowledged, forced to the disk
    verdict.py   reads what is left behind and judges; it never imports Penstock
    states.py    asks the broker what became of each job
    kills.py ... one driver for each kind of fault; each returns its figures
"""
