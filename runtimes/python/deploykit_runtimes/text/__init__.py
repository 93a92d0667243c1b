"""Text for people: safe to print, and short.

described.py  What was found instead of what was wanted, in a few words, whatever it is
printable.py  Text of strangers, made printable: what a file, a request or an engine says commands no
              terminal
"""
