"""The HTTP side of the server: an ASGI application."""
