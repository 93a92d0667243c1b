"""Measuring models: timing, the environment record, and reports."""
