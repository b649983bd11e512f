"""Mean shapes of annotated points, and points brought onto them."""

from spinegrade.shapes.align import align_to_shape
from spinegrade.shapes.mean import mean_shape

__all__ = ["align_to_shape", "mean_shape"]
