"""The demo: three agents call real servers through the border, and the log of it is put to the test."""
