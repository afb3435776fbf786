"""The shapes of requests with those of answers, one file for each resource."""
