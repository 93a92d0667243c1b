"""Where pictures come from.

sources    what a caller may give as a picture, brought to few forms
picture    what a result remembers of it, to be drawn into later
urls       which sources are URLs, and how messages name them
fetch      a picture behind an http(s) URL, within limits of bytes, time and redirects
"""
