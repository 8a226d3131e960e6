"""Other agents, behind the same door: A2A 1.0 as their callers speak it."""
