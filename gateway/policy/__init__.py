"""Who may do what: policy files, their immutable compiled snapshot, and plain Casbin as its judge.

The way in is `load.load` (a folder), `load.compile` (bytes) and `snapshot.Policies` (in force).
"""
