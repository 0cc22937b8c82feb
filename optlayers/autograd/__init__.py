"""What stands between values and torch's derivatives: detached values, tracing, custom operators."""
