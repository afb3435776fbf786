"""The live feed's process: server-sent events over ASGI, beside the API."""
