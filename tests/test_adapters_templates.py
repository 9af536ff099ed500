"""The templates on what is not finite: a NaN passes the bounds, and infinities stop at them."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import pytest

from gac_ref import GACConfig
from gac_ref.conformance.adapters import open_port, template
from gac_ref.conformance.adapters.templates import TEMPLATES, header_folder
from gac_ref.conformance.reference import Reference

VALUES = (math.nan, math.inf, -math.inf, 0.5, math.nan, 0.95)


def spec(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    file = folder / f"bounds_{TEMPLATES[kind]}"
    file.write_text(template(kind))
    if kind == "python":
        monkeypatch.syspath_prepend(folder)
        return "bounds_port:Port"
    if kind == "stdio":
        return f"stdio: sh {file}"
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    library = folder / "libbounds.so"
    flags = ["-shared", "-fPIC", "-I", str(header_folder()), "-o", str(library)]
    subprocess.run([compiler, *flags, str(file)], check=True)
    return str(library)


@pytest.mark.parametrize("kind", TEMPLATES)
def test_nan_is_not_clipped_and_infinities_are(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = GACConfig(mu_min=0.1, mu_max=0.8).to_dict()
    reference = Reference()
    reference.configure(config, dtype="fp64", device="cpu")
    with open_port(spec(kind, tmp_path, monkeypatch)) as port:
        port.configure(config, dtype="fp64", device="cpu")
        for value in VALUES:
            answer = port.run("clip", {"mu_capped": value})
            wanted = reference.run("clip", {"mu_capped": value})
            assert bool(answer["mu_clipped"]) == wanted["mu_clipped"], value
            same = answer["mu"] == wanted["mu"]
            assert same or (math.isnan(answer["mu"]) and math.isnan(wanted["mu"])), value
