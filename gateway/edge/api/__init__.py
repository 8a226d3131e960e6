"""Administration over HTTP: `/api/v1`, for whom policy lets read or administer `admin/<noun>`."""
