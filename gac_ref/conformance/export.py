"""A pack for people without Python: one self-contained JSON file a case, and a page on the format.

Values are written as they travel to a program over stdio, so that one reader serves both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gac_ref.conformance.adapters.wire import encode_values
from gac_ref.conformance.case import Case
from gac_ref.conformance.pack import Pack
from gac_ref.conformance.stages import STAGES, Field
from gac_ref.errors import fail

__all__ = ["case_to_dict", "export"]


def export(pack: Pack, directory: str | Path) -> list[Path]:
    """Write every case of a pack as one JSON file, with a README of the format.

    Args:
        pack: The pack.
        directory: Made where it does not exist. Files of the same names are replaced.

    Returns:
        The files written, the README first.

    Raises:
        GACError: The directory cannot be written.
    """
    root = Path(directory)
    written = [root / "README.md"]
    try:
        root.mkdir(parents=True, exist_ok=True)
        written[0].write_text(_readme(pack), "utf-8")
        for case in pack.cases:
            path = root / f"{case.id}.json"
            path.parent.mkdir(exist_ok=True)
            text = json.dumps(case_to_dict(case), indent=1, allow_nan=False)
            path.write_text(text + "\n", "ascii")
            written.append(path)
    except OSError as error:
        fail(f"cannot write to {root} ({error.strerror}); pass a directory that can be written")
    return written


def case_to_dict(case: Case) -> dict[str, Any]:
    """A case as JSON values, arrays in base64 with dtype and shape.

    Examples:
        >>> from gac_ref.conformance.pack import load_pack
        >>> case_to_dict(load_pack().case("clip/both-bounds"))["exchanges"]["fp32"][0]["expected"]
        {'mu': 0.85, 'mu_clipped': True}
    """
    return {
        "id": case.id,
        "kind": case.kind,
        "stage": case.stage,
        "config": case.config.to_dict(),
        "tags": list(case.tags),
        "comment": case.comment,
        "sha256": case.sha256,
        "exchanges": {
            dtype: [
                {
                    "inputs": encode_values(exchange.inputs),
                    "expected": encode_values(exchange.expected),
                }
                for exchange in case.exchanges(dtype)
            ]
            for dtype in case.dtypes
        },
    }


def _readme(pack: Pack) -> str:
    stages = "\n".join(
        f"| {stage.name} | {_names(stage.inputs)} | {_names(stage.outputs)} | {stage.doc} |"
        for stage in STAGES.values()
    )
    return f"""# Conformance cases of GAC, pack {pack.version}

{len(pack.cases)} cases, one JSON file each. The sha256 of the pack is `{pack.sha256}`.

A file has `id`, `kind` (stage, step or trajectory), `stage`, `config`, `tags`, `comment`, the
`sha256` of the case in the pack, and `exchanges`: for each dtype of the inputs (fp64, fp32, fp16,
bf16) a list of calls, each with `inputs` and the `expected` outputs.

* An array is `{{"dtype", "shape", "data"}}`: fp64, fp32, fp16, bf16, int64 or bool (one byte, 0
  or 1); the sizes of its axes; the elements row by row, little-endian, in base64. A bfloat16 is
  the upper half of the float32 of that value.
* A number that JSON cannot write is "NaN", "Infinity" or "-Infinity".
* Expected values are float64: a 50-digit evaluation on exactly these input bits, rounded once.
* The exchanges of a stage or step case are independent of one another; those of a trajectory are
  consecutive steps, from the state before the first step (`init_mu`, `alpha`, nothing measured).
* Outputs marked (response) count at response tokens only, (experts) and (rollouts) on those rows,
  (compared) on the rollouts or, where `disagreement_rows` is "all", on all rows. Whatever stands
  elsewhere is not to be compared.
* Steps and trajectories state every value of the pipeline that exists at that step; only `mu` has
  to be answered.

| stage | inputs | outputs | what |
|---|---|---|---|
{stages}
"""


def _names(fields: tuple[Field, ...]) -> str:
    return ", ".join(
        f"{field.name}{f' ({field.rows})' if field.rows != 'all' else ''}" for field in fields
    )
