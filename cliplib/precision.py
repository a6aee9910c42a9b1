"""In which numbers a training step computes: float32, or half of it on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """The number format of a profile's `precision` on a device.

    "auto" is bfloat16 on a GPU that has it in hardware, float16 on an older one (such as the T4),
    and float32 elsewhere: many CPUs are far slower in half precision.
    Raises: ValueError for a name that is neither "auto" nor a format of torch.
    """
    if name == "auto":
        if device.type != "cuda":
            return torch.float32
        has_bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else torch.float16
    if not isinstance(getattr(torch, name, None), torch.dtype):
        raise ValueError(f"precision is 'auto' or a format such as 'float32', not {name!r}.")
    return getattr(torch, name)


class MixedPrecision:
    """Encoders in half precision, weights and loss in float32; in float32 it changes nothing.

    float16 reaches down to 6e-8 only: there the loss is multiplied before `backward`, so that small
    gradients don't become 0, and a step whose gradients overflow is left out.
    Source: Micikevicius et al. 2018, Mixed Precision Training, section 3 (arXiv 1710.03740).
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self._device = device.type
        self._scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def autocast(self) -> torch.autocast:
        """Within it, products and convolutions are computed in half precision."""
        return torch.autocast(self._device, self.dtype, enabled=self.dtype != torch.float32)

    def step(
        self, loss: Tensor, optimizer: torch.optim.Optimizer, model: nn.Module, clip_norm: float
    ) -> None:
        """Gradients of the loss, cut to a length of `clip_norm`, and a step along them."""
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        self._scaler.step(optimizer)
        self._scaler.update()

    def content(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it: the multiplier and since when it holds."""
        kept = self._scaler.state_dict()
        return {name: torch.tensor(float(kept[name])) for name in KEPT if name in kept}

    def restore(self, content: dict[str, Tensor]) -> None:
        kept = self._scaler.state_dict()
        if kept and content:
            scale, tracker = (content[name].item() for name in KEPT)
            self._scaler.load_state_dict(kept | {"scale": scale, "_growth_tracker": int(tracker)})


KEPT = ("scale", "_growth_tracker")
