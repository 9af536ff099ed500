"""What is here: the device as its driver tells it, the tools, the versions, the commit."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import shutil
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

DRIVER = "libcuda.so.1"
SM_MAJOR, SM_MINOR, MULTIPROCESSORS, L2_BYTES = 75, 76, 16, 38  # CUdevice_attribute, cuda.h


class Device(NamedTuple):
    """A GPU; `l2` in bytes."""

    name: str
    capability: str
    multiprocessors: int
    memory: int
    l2: int
    driver: str


def gpu(library: str = DRIVER) -> Device | None:
    """The first GPU, asked of the driver alone; None where there is no driver, or no GPU."""
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return None
    count, handle, version = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return None
    if count.value < 1 or driver.cuDeviceGet(ctypes.byref(handle), 0) != 0:
        return None
    name, memory = ctypes.create_string_buffer(256), ctypes.c_size_t()
    driver.cuDeviceGetName(name, len(name), handle)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), handle)
    driver.cuDriverGetVersion(ctypes.byref(version))

    def attribute(which: int) -> int:
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), which, handle)
        return value.value

    return Device(
        name.value.decode(),
        f"{attribute(SM_MAJOR)}.{attribute(SM_MINOR)}",
        attribute(MULTIPROCESSORS),
        memory.value,
        attribute(L2_BYTES),
        f"CUDA {version.value // 1000}.{version.value % 1000 // 10}",
    )


def has(module: str) -> bool:
    """Whether a framework is installed; it is not imported."""
    return importlib.util.find_spec(module) is not None


def output(command: Sequence[str]) -> str:
    """What a command prints; "" where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def commit() -> str:
    """The commit, and whether the tree differs from it."""
    head = output(["git", "rev-parse", "HEAD"])
    if not head:
        return "unknown: the checkout has no git history"
    changed = output(["git", "status", "--porcelain"])
    return f"{head} with {len(changed.splitlines())} files changed" if changed else head


def versions() -> dict[str, str]:
    """Of everything that has a part in the figures."""
    found = {"Python": platform.python_version()}
    for name in ("numpy", "torch", "jax", "jaxlib"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    release = [line for line in output(["nvcc", "--version"]).splitlines() if "release" in line]
    found["nvcc"] = release[0].rpartition("release ")[2] if release else "not installed"
    found["driver"] = output(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    ) or ("unknown")
    found["system"] = f"{platform.system()} {platform.release()}, {platform.machine()}"
    return found
