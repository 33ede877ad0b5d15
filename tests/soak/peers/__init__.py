"""The same faults on other libraries: ``scripts/soak peers``.

They stand here, beside the fault drivers whose judge they use, since what they find is printed on the same page; the
libraries' environments are those of ``benchmarks/peers``.

    apps/       each library's application
    produce.py  enqueues and keeps what was acknowledged; runs, like apps, in a library's environment
    systems.py  which libraries and settings there are, how each is started, and where its messages stand
    trial.py    one library at one fault: its own Redis server, its worker, its producer
    faults.py   the faults, the same for all
    holding.py  whether a job is still anywhere in the broker
    verdict.py  what was lost and what ran again
    page.py     the tables of docs/guarantees.md
    results.json  every trial: those that the tables show, and those of earlier runs
"""
