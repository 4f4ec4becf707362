"""A web page and an HTTP API for models, on this machine unless set up otherwise."""
