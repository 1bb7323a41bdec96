"""The error of a wrong configuration."""


class ConfigError(ValueError):
    """The configuration file or an override is wrong; the message lists every error."""
