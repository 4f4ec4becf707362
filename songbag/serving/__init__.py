"""The web door: one model behind a page and an HTTP API, on this machine unless told otherwise.

``running`` starts it, ``app`` has the routes, ``gate`` decides who may ask, ``uploads``
takes files in, ``crew`` has the processes, and ``work`` is what runs inside them.
"""
