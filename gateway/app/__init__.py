"""Composition: the only place that knows everything, and the only one that reads the clock."""
