"""The command line. Modules here import click and the standard library; the rest when it is needed."""
