"""A port's reply held against the stage table: names, kinds and shapes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from gac_ref._typing import AnyArray
from gac_ref.conformance.adapters.failures import BadReply
from gac_ref.conformance.adapters.wire import shown
from gac_ref.conformance.formats import widen
from gac_ref.conformance.stages import PIPELINE, STAGES, Field, Stage, stage_named

__all__ = ["decoded", "expected_outputs", "output_shape"]

_WHOLE = ("step", "trajectory")
_BF16 = np.dtype("<u2")


@cache
def expected_outputs(stage: str) -> Mapping[str, Field]:
    """The outputs that a reply to `stage` may hold; for a whole step, all those of the pipeline.

    Examples:
        >>> "sigma_s2" in expected_outputs("step"), list(expected_outputs("clip"))
        (True, ['mu', 'mu_clipped'])
    """
    names = PIPELINE if stage in _WHOLE else (stage,)
    return MappingProxyType(
        {field.name: field for name in names for field in stage_named(name).outputs}
    )


def required_outputs(stage: str, inputs: Mapping[str, Any]) -> tuple[str, ...]:
    """The outputs without which a reply to `stage` is incomplete; transport echoes its inputs."""
    if stage == "transport":
        return tuple(inputs)
    return STAGES[stage].output_names


def decoded(stage: str, reply: Any, inputs: Mapping[str, Any]) -> dict[str, AnyArray]:
    """The outputs in `reply` as float64, bool and int64 arrays by name.

    Args:
        stage: The stage that was asked.
        reply: What the port returned.
        inputs: What it was asked with: the sizes B and T come from there.

    Raises:
        BadReply: An output is missing, unknown to the stage, or of the wrong kind or shape.

    Examples:
        >>> decoded("clip", {"mu": 1, "mu_clipped": True}, {"mu_capped": 0.5})
        {'mu': array(1.), 'mu_clipped': array(True)}
        >>> decoded("clip", {"mu": [0.5], "mu_clipped": True}, {"mu_capped": 0.5})
        Traceback (most recent call last):
            ...
        gac_ref.conformance.adapters.failures.BadReply: clip: mu has shape (1,); expected a scalar
    """
    if not isinstance(reply, Mapping):
        raise BadReply(f"{stage}: {shown(reply)} is no mapping of outputs by name")
    fields = expected_outputs(stage)
    outputs: dict[str, AnyArray] = {}
    for name, value in reply.items():
        field = fields.get(name)
        if field is None or (stage == "transport" and name not in inputs):
            raise BadReply(_unknown(stage, name, fields))
        array = _of_kind(stage, field, value, inputs)
        wanted = output_shape(STAGES[stage], field, inputs)
        if array.shape != wanted:
            raise BadReply(
                f"{stage}: {name} has shape {array.shape}; expected {_spoken(field, wanted)}"
            )
        outputs[name] = array
    for name in required_outputs(stage, inputs):
        if name not in outputs:
            raise BadReply(
                f"{stage}: the reply has no {name}; it holds {', '.join(outputs) or 'nothing'}"
            )
    return outputs


def _unknown(stage: str, name: object, fields: Mapping[str, Field]) -> str:
    near = difflib.get_close_matches(str(name), fields, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it returns {', '.join(fields)}"
    return f"{stage}: {shown(name)} is not an output of the stage; {hint}"


def _of_kind(stage: str, field: Field, value: Any, inputs: Mapping[str, Any]) -> AnyArray:
    try:
        array = np.asarray(value)
    except Exception as error:
        # Foreign array types raise what they like.
        raise BadReply(
            f"{stage}: {field.name} is a {type(value).__qualname__} that NumPy cannot read "
            f"({error})"
        ) from None
    kind = array.dtype.kind
    if field.kind == "flag" and kind == "b":
        return array
    if field.kind == "count":
        if kind in "iu" and array.dtype.itemsize <= 8:
            return array.astype(np.int64)
        if kind == "f" and np.all(np.isfinite(array)) and np.all(array == np.floor(array)):
            return array.astype(np.int64)
    if field.kind in ("token", "real") and kind in "iuf":
        sent = inputs.get(field.name) if field.kind == "token" else None
        if array.dtype == _BF16 and getattr(sent, "dtype", None) == _BF16:
            return widen(array, "bf16")
        return array.astype(np.float64)
    expected = {"flag": "a flag (true or false)", "count": "a whole number"}
    raise BadReply(
        f"{stage}: {field.name} is {shown(value)} ({array.dtype}); expected "
        f"{expected.get(field.kind, 'a number')}"
    )


def output_shape(stage: Stage, field: Field, inputs: Mapping[str, Any]) -> tuple[int, ...]:
    """The shape of an output; the sizes B and T are those of the inputs.

    Examples:
        >>> output_shape(STAGES["coefficients"], STAGES["coefficients"].outputs[0],
        ...              {"logprob": np.zeros((3, 5))})
        (3, 5)
    """
    if not field.shape:
        return ()
    if field.name in inputs:  # an echo, and advantages may have one axis or two
        return np.shape(inputs[field.name])
    sizes: dict[str, int] = {}
    for given in stage.inputs:
        shape = np.shape(inputs.get(given.name, 0.0))
        if len(shape) == len(given.shape):
            sizes.update(zip(given.shape, shape, strict=True))
    return tuple(sizes[axis] for axis in field.shape)


def _spoken(field: Field, wanted: tuple[int, ...]) -> str:
    axes = f"[{', '.join(field.shape)}] = " if field.shape else ""
    return f"{axes}{wanted}" if wanted else "a scalar"
