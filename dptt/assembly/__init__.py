"""From configuration and files to what the algorithms take: the only place that knows both sides."""
