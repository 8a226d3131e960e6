"""Approvals at the edge: how a caller is told to wait, and the page where somebody decides."""
