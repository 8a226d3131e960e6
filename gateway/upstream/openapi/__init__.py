"""OpenAPI 3.0 and 3.1: a document of a REST API -> tools, and calls of them -> requests."""
