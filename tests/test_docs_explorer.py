"""The explorer in a real browser: its estimator, its numbers, its manners."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from _browser import Browser, browser, executable, served
from _docs_site import built_site

from gac_ref import GACConfig, Proxies, init, update_from_proxies
from gac_ref.config import VARIANTS
from gac_ref.risk import closed_form

ROOT = Path(__file__).parents[1]
PORT = ROOT / "gac_ref" / "ports" / "javascript"
ERROR = 1e-12
"""Two float64 evaluations of 1,400 contracting steps on numbers of order one."""
READY = "document.getElementById('gac-explorer')?.dataset.state === 'ready'"
DEFAULTS = {
    "variant": "documented",
    "scenario": "steady",
    "sigma_s2": 0.2,
    "sigma_r2": 0.8,
    "delta_g2": 1.0,
    "spread": 0.0,
    "alpha": 0.5,
    "ema_beta": 0.99,
    "blend_weight": 0.5,
    "mu_change_cap": 0.01,
}
REGIMES: dict[str, dict[str, Any]] = {
    "as-published": {},
    "decoupled": {"variant": "decoupled", "scenario": "rl-noise", "ema_beta": 0.9, "spread": 1.0},
    "released": {"variant": "released", "scenario": "no-rollouts", "blend_weight": 1.0},
    "documented": {"scenario": "no-rollouts", "blend_weight": 1.0, "spread": 0.35},
    "capped": {
        "scenario": "rl-noise",
        "ema_beta": 0.0,
        "mu_change_cap": 0.002,
        "spread": 0.5,
        "blend_weight": 0.93,
    },
    "flat-released": {
        "variant": "released",
        "sigma_s2": 0.0,
        "sigma_r2": 0.0,
        "delta_g2": 0.0,
        "blend_weight": 1.0,
        "ema_beta": 0.9,
    },
    "flat-documented": {
        "sigma_s2": 0.0,
        "sigma_r2": 0.0,
        "delta_g2": 0.0,
        "alpha": 0.7,
        "blend_weight": 1.0,
        "ema_beta": 0.9,
    },
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(executable() is None, reason="Chromium is not installed"),
]


def uniforms(count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The page's numbers (mulberry32 from 1), written from its definition in 32-bit integers."""
    state, out, mask = 1, [], 0xFFFFFFFF
    for _ in range(count):
        state = (state + 0x6D2B79F5) & mask
        t = ((state ^ (state >> 15)) * (state | 1)) & mask
        t ^= (t + (((t ^ (t >> 7)) * (t | 61)) & mask)) & mask
        out.append(((t ^ (t >> 14)) & mask) / 2**32)
    return np.array(out)


def expected(changes: dict[str, Any], steps: int = 1400) -> tuple[list[float], list[float]]:
    """The weight and the raw estimate of every step, by the reference."""
    given = {**DEFAULTS, **changes}
    names = ("alpha", "ema_beta", "blend_weight", "mu_change_cap")
    config = getattr(GACConfig, given["variant"])(**{name: given[name] for name in names})
    draws = uniforms(3 * steps).reshape(steps, 3)
    state, mus, raws = init(config), [], []
    for step in range(steps):
        during = 500 <= step < 900
        factor = 10.0 if during and given["scenario"] == "rl-noise" else 1.0
        alone = during and given["scenario"] == "no-rollouts"
        s, r, delta = (1.0 + given["spread"] * (2.0 * draws[step] - 1.0)) * [
            given["sigma_s2"],
            given["sigma_r2"] * factor,
            given["delta_g2"],
        ]
        fresh = Proxies(
            max(s, config.eps),
            0.0 if alone else max(r, config.eps),
            0.0 if alone and config.disagreement_rows == "rollouts" else delta,
            has_r=not alone,
            has_delta=not alone or config.disagreement_rows == "all",
        )
        state, info = update_from_proxies(config, state, fresh, step=step)
        mus.append(float(info.mu))
        raws.append(float(info.mu_raw))
    return mus, raws


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_site(tmp_path_factory)


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with served(site) as url:
        yield url


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Browser]:
    del address
    with browser() as opened:
        opened.window(1360, 1000)
        yield opened


@pytest.fixture(autouse=True)
def _nothing_leaves_and_nothing_fails(page: Browser, address: str) -> Iterator[None]:
    page.requested.clear()
    page.complaints.clear()
    yield
    elsewhere = [u for u in page.requested if not u.startswith((f"{address}/", "about:", "data:"))]
    assert elsewhere == []
    assert page.complaints == []


def show(page: Browser, address: str, **changes: Any) -> None:
    page.open(f"{address}/explorer.html#{urlencode(changes)}", until=READY)


def data(page: Browser, name: str) -> str:
    return str(page.evaluate(f"document.getElementById('gac-explorer').dataset.{name}"))


def text(page: Browser, name: str) -> str:
    return str(page.evaluate(f"document.querySelector('[data-gx=\"{name}\"]').textContent"))


@pytest.mark.parametrize("name", ["proxies.mjs", "controller.mjs"])
def test_the_estimator_is_the_checked_port_byte_by_byte(site: Path, name: str) -> None:
    assert (site / "_static" / "explorer" / name).read_bytes() == (PORT / name).read_bytes()


def test_the_configurations_are_the_references_own(page: Browser, address: str) -> None:
    show(page, address)
    loaded = page.evaluate(
        "import('/_static/explorer/variants.mjs').then((m) => JSON.stringify(m.VARIANTS))"
    )
    assert json.loads(loaded) == {name: asdict(getattr(GACConfig, name)()) for name in VARIANTS}


@pytest.mark.parametrize("regime", REGIMES)
def test_a_run_in_the_browser_is_the_references_run(
    page: Browser, address: str, regime: str
) -> None:
    show(page, address, **REGIMES[regime])
    script = "JSON.stringify(document.getElementById('gac-explorer').run.infos.map((i) => i.{}))"
    mus, raws = expected(REGIMES[regime])
    np.testing.assert_allclose(json.loads(page.evaluate(script.format("mu"))), mus, 0, ERROR)
    np.testing.assert_allclose(json.loads(page.evaluate(script.format("mu_raw"))), raws, 0, ERROR)
    assert abs(float(data(page, "mu")) - mus[-1]) <= ERROR


def test_the_step_that_is_looked_at_is_the_one_that_is_described(
    page: Browser, address: str
) -> None:
    show(page, address, scenario="rl-noise", blend_weight=1, step=700)
    mus, raws = expected({"scenario": "rl-noise", "blend_weight": 1.0})
    assert text(page, "mu") == f"{mus[700]:.3f}"
    assert text(page, "rest") == f"The estimate asks for {raws[700]:.3f}; mu is {mus[700]:.3f}."


def test_the_sentence_says_who_decides(page: Browser, address: str) -> None:
    show(page, address)
    assert "prior decides 99.0 %" in text(page, "lead")
    show(page, address, variant="decoupled", blend_weight=0.8)
    assert "noise-aware estimate decides 80" in text(page, "lead")
    show(page, address, blend_weight=1)
    assert "no prior" in text(page, "lead")
    show(page, address, ema_beta=0, blend_weight=1, mu_change_cap=0.001, step=3)
    assert "change cap" in text(page, "lead")
    show(page, address, sigma_s2=0, sigma_r2=0, delta_g2=0)
    assert "nothing to decide" in text(page, "lead")


def test_a_slider_answers_to_the_keyboard(page: Browser, address: str) -> None:
    show(page, address, ema_beta=0, blend_weight=1, mu_change_cap=1)
    page.evaluate("document.getElementById('gx-sigma_r2').focus()")
    before = data(page, "mu")
    page.press("ArrowRight", 39)
    page.wait_for(f"document.getElementById('gac-explorer').dataset.mu !== '{before}'")
    value = float(page.evaluate("new URLSearchParams(location.hash.slice(1)).get('sigma_r2')"))
    assert value > 0.8  # what it was before
    spoken = page.evaluate("document.activeElement.getAttribute('aria-valuetext')")
    assert spoken == f"{value:g} advantage²"
    # Without memory, prior and cap the last weight is the closed form of what is set.
    assert abs(float(data(page, "mu")) - float(closed_form(0.2, value, 1.0))) <= ERROR


def test_every_control_has_a_name(page: Browser, address: str) -> None:
    show(page, address)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('#gac-explorer :is(input, select, button)')].filter("
        "(e) => !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim())).length"
    )
    assert unnamed == 0


def test_presets_choices_and_addresses_agree(page: Browser, address: str) -> None:
    show(page, address)
    count = page.evaluate("document.querySelectorAll('[data-gx=\"presets\"] button').length")
    assert count >= 6
    seen = set()
    for index in range(count):
        page.evaluate(f"document.querySelectorAll('[data-gx=\"presets\"] button')[{index}].click()")
        page.wait_for(
            f"document.querySelectorAll('[data-gx=\"presets\"] button')[{index}]"
            ".getAttribute('aria-pressed') === 'true'"
        )
        seen.add((page.evaluate("location.hash"), text(page, "lead"), text(page, "mu")))
    assert len(seen) == count  # each shows something else


@pytest.mark.parametrize("hash", ["sigma_s2=-1&alpha=2&variant=x&step=1e9&nonsense=1", "%", "=&="])
def test_what_is_no_setting_in_an_address_is_ignored(
    page: Browser, address: str, hash: str
) -> None:
    page.open(f"{address}/explorer.html#{hash}", until=READY)
    assert abs(float(data(page, "mu")) - expected({})[0][-1]) <= ERROR


@pytest.mark.parametrize("over", ["http", "file"])
def test_search_finds_a_name_without_a_server_of_its_own(
    page: Browser, address: str, site: Path, over: str
) -> None:
    root = address if over == "http" else site.as_uri()
    page.open(f"{root}/search.html?q=closed_form")
    page.wait_for("document.querySelectorAll('#search-results li').length > 3")
    found = page.evaluate("document.querySelector('#search-results').textContent")
    assert "gac_ref.risk.closed_form" in found
    page.requested[:] = [url for url in page.requested if not url.startswith(site.as_uri())]


@pytest.mark.parametrize(
    "name",
    [
        "index.html",
        "tutorial/notebooks/3_guards.html",
        "explanation/derivation.html",
        "reference/risk.html",
        "genindex.html",
    ],
)
def test_a_page_of_every_kind_shows_itself_without_a_complaint(
    page: Browser, address: str, name: str
) -> None:
    """And without a request elsewhere, as after every test here."""
    page.open(f"{address}/{name}")
    assert page.evaluate("document.querySelector('h1').textContent.length") > 3
    broken = "[...document.images].filter((i) => !(i.complete && i.naturalWidth)).length"
    assert page.evaluate(broken) == 0
    assert any(url.endswith(name) for url in page.requested)


def test_a_page_opened_from_a_file_says_what_it_needs(page: Browser, site: Path) -> None:
    page.open(f"{site.as_uri()}/explorer.html")
    assert "http.server" in text(page, "wait")
    assert any("CORS" in complaint for complaint in page.complaints)
    page.complaints.clear()  # the browser's refusal, which the page has an answer to
    page.requested.clear()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
def test_nothing_is_wider_than_the_window(
    page: Browser, address: str, width: int, dark: bool, tmp_path: Path
) -> None:
    page.window(width, 900, dark=dark)
    show(page, address, scenario="rl-noise")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    inside = (
        "[...document.querySelectorAll('#gac-explorer *')].every((e) => !e.offsetParent || "
        + (
            "e.scrollWidth <= e.clientWidth + 1 || getComputedStyle(e).overflow === 'hidden' || "
            "getComputedStyle(e).display === 'inline')"
        )
    )
    assert page.evaluate(inside)
    folder = Path(os.environ.get("GAC_DOCS_PICTURES", tmp_path))
    picture = folder / f"explorer-{width}-{'dark' if dark else 'light'}.png"
    page.picture(picture)
    assert picture.stat().st_size > 10_000
    page.window(1360, 1000)
