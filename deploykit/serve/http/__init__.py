"""The HTTP side of the server: an ASGI application.

app.py           The ASGI application: routes, keys, origins, errors
encoding.py      Compressed answers, as ``Accept-Encoding`` asks for them (RFC 9110, 12.5.3)
exchange.py      A request of HTTP over ASGI
                 (https://asgi.readthedocs.io/en/latest/specs/www.html)
openapi.py       The OpenAPI document of the server (https://spec.openapis.org/oas/v3.1.0)
origin.py        Which web pages may use a server that wants no key
pages.py         The files of the page, which are the only ones that can be asked for
protocol.py      HTTP/1.1 of a connection: uvicorn's, with large bodies read straight to where the engine
                 reads them
uvicorn_form.py  Whether the installed uvicorn has the form that protocol.py and server.py build on
"""
