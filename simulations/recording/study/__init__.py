"""The recording's training run, under several controllers and seeds.

The same small transformer, task, data and hyperparameters as the shipped trace; only the rule that
gives mu differs. All controllers of a seed start from the same warm-started weights and see the
same prompts and demonstrations in the same order. `python -m simulations.recording.study --out DIR`
makes the results again, one file a run, and packs them; the pack that it made is shipped as
`results.npz` beside this file, and `load_study` reads it with NumPy alone.

It is part of the recording, and not a package of its own, because it is the same trainer: what
differs is who decides mu and what is kept of a step.
"""

from __future__ import annotations

from pathlib import Path

SHIPPED_STUDY = Path(__file__).resolve().parent / "results.npz"
"""The results that come with the repository."""
