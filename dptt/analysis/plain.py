"""Results as plain Python values, ready for JSON and YAML."""

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def to_plain(result: Any) -> Any:
    """Convert dataclasses to dicts, arrays to lists, and numbers that JSON cannot hold (NaN, infinity) to None."""
    if is_dataclass(result) and not isinstance(result, type):
        return {field.name: to_plain(getattr(result, field.name)) for field in fields(result)}
    if isinstance(result, dict):
        return {str(key): to_plain(value) for key, value in result.items()}
    if isinstance(result, (list, tuple)):
        return [to_plain(value) for value in result]
    if isinstance(result, (np.ndarray, np.generic)):
        return to_plain(result.tolist())
    if isinstance(result, float) and not np.isfinite(result):
        return None
    return result
