"""The unit of retry, cache, timeout, log line and artifact: thin Prefect tasks over `ragwright`."""
