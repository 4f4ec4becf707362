"""A web page and an HTTP API for one model, on this machine unless set up otherwise."""
