"""One real hybrid SFT-RL training run, recorded with the estimator in the loop.

A `trl.GRPOTrainer` trains a small randomly initialised Llama on column addition. Each step mixes
the trainer's own GRPO loss with the loss of a batch of expert demonstrations,
`L = (1 - mu) L_RL + mu L_SFT`, and `mu` comes from `gac_ref.update` on that step's tensors. The
tensors, everything the controller computed, and every few steps the true gradient-space values go
to a `gac-trace/1` directory; one such directory is shipped in `trace/`.

`python -m simulations.recording --out DIR` records again. It needs `requirements/record.txt`
(torch, transformers, TRL) and neither a network nor any weights.
"""

from __future__ import annotations

from pathlib import Path

SHIPPED_TRACE = Path(__file__).resolve().parent / "trace"
"""The recording that comes with the repository."""
