"""A web page and an HTTP API for one model, on this machine unless set up otherwise.

``server`` starts and stops it, ``options`` are its settings, ``app`` has the routes,
``security`` refuses requests that are not allowed, ``uploads`` receives files, ``workers``
is the pool of processes, ``worker_process`` runs inside them, ``answer_cache`` encodes an
answer so that it can be pooled again, ``replies`` is the form of every answer and error,
and ``schemas`` describes the API.
"""
