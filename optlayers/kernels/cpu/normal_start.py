"""Where the search for a multiplier starts: the root that normally distributed entries would have."""

from __future__ import annotations

import numpy as np
from scipy import special

from optlayers.kernels.cpu.compiled import inner

_QUANTILES = np.linspace(-8.0, 8.0, 1024)
_EXCESSES = np.exp(-(_QUANTILES**2) / 2) / np.sqrt(2 * np.pi) - _QUANTILES * special.ndtr(-_QUANTILES)
_LOGS = np.linspace(-12.0, 2.0, 256)  # of the expected excess ``E max(z - q, 0)`` of a standard normal `z`
_GUESSES = np.interp(-_LOGS, -np.log(_EXCESSES), _QUANTILES)  # the quantile `q` for each


@inner
def normal_start(mean: float, deviation: float, room: float) -> float:
    """Return `tau` with ``E max(x - tau, 0) = room`` for normal `x`; NaN where that is no use."""
    if not deviation > 0 or not room > 0:
        return np.nan
    place = (np.log(room / deviation) - _LOGS[0]) / (_LOGS[1] - _LOGS[0])
    if not 0 <= place < _LOGS.size - 1:
        return np.nan
    k = int(place)
    return mean + deviation * (_GUESSES[k] + (place - k) * (_GUESSES[k + 1] - _GUESSES[k]))
