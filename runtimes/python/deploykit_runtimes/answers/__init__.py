"""What a model answers, and what every answer can do besides holding its numbers.

displayed         shown, saved, drawn in a notebook, as rows and as a table of pandas
page              a result as HTML
classification    the best classes of an image
detection         one detection, as iterating detections gives it
features          feature maps of a backbone
"""
