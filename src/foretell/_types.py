"""Types shared by all modules."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
