"""Windows of periodic images, read and added as plain blocks of an image that is extended by one window."""

import torch
from jaxtyping import Inexact, Int
from torch import Tensor


class PeriodicImage:
    """Images (slice, Y, X) and their windows (y, x) at scan positions."""

    def __init__(self, image: Inexact[Tensor, "slice Y X"], window: tuple[int, int]) -> None:
        self.shape, self.window = (image.shape[1], image.shape[2]), window
        extended = torch.cat([image, image[:, : window[0] - 1]], dim=1)
        self.extended = torch.cat([extended, extended[:, :, : window[1] - 1]], dim=2)

    def extract(self, corners: Int[Tensor, "pos 2"]) -> Inexact[Tensor, "slice pos y x"]:
        """Return the windows at `corners`, which are within the image."""
        windows = self.extended.unfold(1, self.window[0], 1).unfold(2, self.window[1], 1)
        return windows[:, corners[:, 0], corners[:, 1]]

    def accumulate(
        self,
        extended: Inexact[Tensor, "slice v u"],
        patches: Inexact[Tensor, "slice pos y x"],
        corners: Int[Tensor, "pos 2"],
    ) -> None:
        """Add patches one by one, in order: deterministic on every device."""
        for i, (y, x) in enumerate(corners.tolist()):
            extended[:, y : y + self.window[0], x : x + self.window[1]] += patches[:, i]

    def fold(self, extended: Inexact[Tensor, "slice v u"]) -> Inexact[Tensor, "slice Y X"]:
        """Add the values beyond the border to the opposite side: the adjoint of the extension."""
        folded = extended[:, : self.shape[0]].clone()
        folded[:, : self.window[0] - 1] += extended[:, self.shape[0] :]
        result = folded[:, :, : self.shape[1]].contiguous()
        result[:, :, : self.window[1] - 1] += folded[:, :, self.shape[1] :]
        return result
