"""Where pictures come from, besides paths and bytes.

urls     which sources are URLs, and how messages name them
fetch    a picture behind an http(s) URL, within limits of bytes, time and redirects
"""
