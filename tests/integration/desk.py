"""A display of its own with a window manager, the real program on it, and hands that move a real pointer."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

TOOLS = ("Xvfb", "openbox", "xdotool", "import")
SERVER = Path(__file__).with_name("window_server.py")

Point = tuple[float, float]
T = TypeVar("T")


def missing_tools() -> list[str]:
    """What this needs and the machine lacks."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


def wait_until(check: Callable[[], T], what: str, limit_s: float = 120.0) -> T:
    """Ask again until the answer is true; AssertionError after ``limit_s``."""
    end = time.monotonic() + limit_s
    while True:
        if answer := check():
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s:g} s: {what}")
        time.sleep(0.05)


class Desk:
    """An X server without a screen, and openbox in it."""

    def __init__(self, width: int = 1600, height: int = 1000) -> None:
        read, write = os.pipe()
        screen = f"{width}x{height}x24"
        self._server = subprocess.Popen(
            ["Xvfb", "-displayfd", str(write), "-screen", "0", screen, "-nolisten", "tcp"],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        with os.fdopen(read) as pipe:
            number = pipe.readline().strip() if select.select([pipe], [], [], 120)[0] else ""
        assert number, "Xvfb did not start"
        self.environment = {**os.environ, "DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"}
        self.environment.pop("WAYLAND_DISPLAY", None)
        self._manager = subprocess.Popen(
            ["openbox"], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def close(self) -> None:
        for process in (self._manager, self._server):
            process.terminate()
            process.wait(120)

    # ------------------------------------------------------------------ hands

    def hands(self, *words: object) -> None:
        """Give one chain of xdotool commands."""
        subprocess.run(["xdotool", *map(str, words)], env=self.environment, check=True, timeout=300)

    def key(self, *names: str) -> None:
        self.hands("key", "--delay", 60, *names)

    def point(self, at: Point) -> None:
        """Move the pointer; the last pixel apart, so that the move is seen even where it was there already."""
        self.hands("mousemove", at[0] - 1, at[1], "sleep", 0.1, "mousemove", *at, "sleep", 0.1)

    def click(self, at: Point, button: int = 1) -> None:
        self.point(at)
        self.hands("click", button)

    def drag(self, places: Sequence[Point], seen: Callable[[Point], bool], modifier: str = "") -> None:
        """Press at the first place, go through the others, release at the last one.

        ``seen`` says whether the program has noticed the pointer at a place: a busy one is handed several moves as one.
        """
        self.point(places[0])
        self._noticed(places[0], seen)
        if modifier:
            self.hands("keydown", modifier)
        self.hands("mousedown", 1, "sleep", 0.1)
        for (x0, y0), (x1, y1) in itertools.pairwise(places):
            for share in (0.34, 0.67, 1.0):
                here = (round(x0 + share * (x1 - x0)), round(y0 + share * (y1 - y0)))
                self.hands("mousemove", *here)
                self._noticed(here, seen)
        self.hands("sleep", 0.1, "mouseup", 1, *(["keyup", modifier] if modifier else []))

    def _noticed(self, place: Point, seen: Callable[[Point], bool]) -> None:
        """Wait until the program has seen the pointer at a place; of two moves in ten milliseconds vispy drops one."""
        for _ in range(60):
            end = time.monotonic() + 2.0
            while time.monotonic() < end:
                if seen(place):
                    return
                time.sleep(0.02)
            self.point(place)
        raise AssertionError(f"the program never saw the pointer at {place}")

    def type(self, text: str) -> None:
        self.hands("type", "--delay", 40, text)

    def rest(self) -> None:
        """Wait until the screen has come to rest."""
        seen = b""
        for _ in range(20):
            now = self._screen("rgb:-")
            if now == seen:
                break
            seen = now
            time.sleep(0.25)

    def picture(self, file: Path, crop: str = "") -> None:
        """Save what is on the screen (``crop`` as ImageMagick spells it) once it has come to rest."""
        self.rest()
        file.parent.mkdir(parents=True, exist_ok=True)
        self._screen(*(["-crop", crop, "+repage"] if crop else []), str(file))

    def _screen(self, *words: str) -> bytes:
        command = ["import", "-window", "root", *words]
        return subprocess.run(command, env=self.environment, check=True, timeout=300, stdout=subprocess.PIPE).stdout


class Program:
    """The program on a desk; ``words`` as on the command line."""

    def __init__(self, desk: Desk, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVER), *map(str, words)],
            env=desk.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, question: str, limit_s: float = 300.0) -> Any:
        """The value of a Python expression in the program; see ``window_server.py``."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(question, file=self.process.stdin, flush=True)
        answered = select.select([self.process.stdout], [], [], limit_s)[0]
        line = self.process.stdout.readline() if answered else ""
        assert line, f"the program did not answer {question!r} (exit code {self.process.poll()})"
        answer = json.loads(line)
        assert "error" not in answer, f"{question}: {answer['error']}"
        return answer["is"]

    def at(self, x: float, y: float) -> Point:
        """Where canonical px lie on the screen."""
        place = self.ask(f"at({x!r}, {y!r})")
        return place[0], place[1]

    def shown(self) -> bool:
        """Whether the denoised picture of the current micrograph is on the screen, at rest, and all its picks."""
        return bool(
            self.ask(
                "b is not None and b.picture_layer.picture is not None and b.session.current is not None "
                "and b.picture_layer.picture is b.pictures.ready(b.session.current, b.view) "
                "and b.focus.drawn.mask().sum() == len(b.particles_layer.layer.data) and not b.viewport.moving"
            )
        )

    def sees(self, place: Point) -> bool:
        """Whether the pointer was last seen at this place of the screen."""
        x, y = self.ask("pointer()")
        return abs(x - place[0]) <= 1 and abs(y - place[1]) <= 1

    def ended(self) -> bool:
        return self.process.poll() is not None

    def kill(self) -> None:
        """What a power cut does."""
        self.process.kill()
        self.process.wait(120)
