"""JupyterLab on loopback, in a temporary copy of the course, and a headless Chromium before it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, sync_playwright

COURSE = Path(__file__).resolve().parent.parent
PATIENCE = 600_000  # milliseconds; a lesson takes one tenth of that where nothing else runs
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CONNECTED_AND_IDLE = """notebook => {
    const panel = window.jupyterapp?.shell.currentWidget;
    const kernel = panel?.sessionContext?.session?.kernel;
    return panel?.context?.path === notebook
        && kernel?.status === 'idle' && kernel.connectionStatus === 'connected';
}"""
# stored outputs are cleared, so that what is seen afterwards was made here
RUN_ALL = """() => {
    window.allHaveRun = false;
    const run = command => window.jupyterapp.commands.execute(`notebook:${command}`);
    run('clear-all-cell-outputs').then(() => run('run-all-cells')).then(() => {
        window.allHaveRun = true;
    });
}"""
ALL_HAVE_RUN = "() => window.allHaveRun"


def browser() -> str | None:
    """Where a Chromium is, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """A headless Chromium, closed afterwards."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=browser(), args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def running_lab(folder: Path) -> Iterator[str]:
    """Serves a copy of the course, since JupyterLab saves by itself; gives the address."""
    copy = folder / "course"
    _copy_course(copy)
    names = ("CONFIG", "DATA", "RUNTIME")
    env = os.environ | {f"JUPYTER_{name}_DIR": str(folder / name) for name in names}
    settings = folder / "settings"
    env |= {
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
    }
    _set(settings, "notebook-extension/tracker", {"windowingMode": "none"})  # all cells are there
    _set(settings, "apputils-extension/notification", {"fetchNews": "false"})  # nothing pops up
    port = _free_port()
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
        "--ip=127.0.0.1", f"--port={port}", "--expose-app-in-browser",
        "--IdentityProvider.token=", "--ServerApp.password=",
    ]  # fmt: skip
    log = folder / "lab.log"
    with log.open("w") as written:
        server = subprocess.Popen(command, cwd=copy, env=env, stdout=written, stderr=written)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, log)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=60)


def open_and_run(page: Page, address: str, notebook: str) -> None:
    """Opens a notebook, waits for its kernel, runs all of it and waits for the end."""
    # a workspace of its own: JupyterLab would bring back what another test had open
    page.goto(f"{address}/lab/workspaces/{Path(notebook).stem}/tree/{notebook}")
    page.wait_for_function(CONNECTED_AND_IDLE, arg=notebook, timeout=PATIENCE)
    page.evaluate(RUN_ALL)
    page.wait_for_function(ALL_HAVE_RUN, timeout=PATIENCE, polling=500)
    assert page.locator(".jp-OutputArea-output[data-mime-type*=error]").count() == 0


def changes(page: Page, what: Locator, attribute: str, before: str) -> str:
    """Waits until an element's attribute is another than before; gives it."""
    for _ in range(300):
        now = what.get_attribute(attribute)
        if now != before:
            return str(now)
        page.wait_for_timeout(100)
    raise AssertionError(f"{attribute} stayed {before[:80]!r}")


def settled(page: Page, look: Callable[[], list[str]], before: list[str]) -> list[str]:
    """Waits until what is seen is another than before and has stayed the same for a second."""
    last, since = before, 0
    for _ in range(600):
        page.wait_for_timeout(100)
        now = look()
        since = since + 1 if now == last else 0
        last = now
        if now != before and since >= 10:
            return now
    raise AssertionError(f"It did not settle, or stayed {before}; last seen: {last}")


def _set(settings: Path, plugin: str, values: dict[str, str]) -> None:
    path = settings / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))


def _copy_course(copy: Path) -> None:
    for name in ("cliplib", "notebooks", "data/checkpoints", "data/splits"):
        shutil.copytree(COURSE / name, copy / name, ignore=LEFT_BEHIND)
    for name in ("requirements.txt", "pyproject.toml"):
        shutil.copy2(COURSE / name, copy / name)


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


def _wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{address}/api", timeout=5).close()
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-2000:]}")
