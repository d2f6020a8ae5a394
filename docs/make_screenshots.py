"""Makes the pictures of the README: drives the real window on a virtual display over simulated micrographs.

``.venv/bin/python docs/make_screenshots.py [FOLDER] [window] [classes] [review] [screen]`` (default: docs/images, all).
Needs Debian's xvfb, openbox, xdotool and imagemagick.
"""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import mrcfile
from PIL import Image

from cryoppp_annotator.batch.demo import CONTAMINATION_CLASS, build
from cryoppp_annotator.imaging.simulate import SimulationParameters, simulate_micrograph, views_for
from cryoppp_annotator.imaging.simulate_defects import DEFECTS, simulate_defect
from cryoppp_annotator.model.curation import Decision, Reason
from cryoppp_annotator.model.which import ClassesOf, Which
from cryoppp_annotator.session.core.opening import open_plan, open_project, plan
from cryoppp_annotator.session.files import importing

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "integration"))

from desk import Desk, Program, missing_tools, wait_until  # noqa: E402

#: Scores above are accepted, below are rejected; the rest is left to the curator.
ACCEPT, REJECT = 0.62, 0.33
_UNDECIDED = (Decision.UNDECIDED,)


def prepare(folder: Path) -> Path:
    """A project of the demo's micrographs with a picker's candidates only, half decided."""
    data = build(folder / "data", n_micrographs=6, seed=4).folder
    session = open_plan(plan(data, folder / "annotator-project"), curator="ada")
    try:
        session.set_diameter(171)
        found = importing.read(session, data / "candidates.star", format="relion-particles")
        importing.enter(session, found, name="picker")
        first, second = session.micrographs[:2]
        session.go(second.id)
        for micrograph in (first, second):
            junk = Which((micrograph.id,), classes=ClassesOf(numbers=(CONTAMINATION_CLASS,)))
            session.decide_where(junk, Decision.REJECTED, Reason.ICE)
            here = Which((micrograph.id,), _UNDECIDED)
            session.decide_where(replace(here, min_score=ACCEPT), Decision.ACCEPTED)
            session.decide_where(replace(here, below_score=REJECT), Decision.REJECTED)
    finally:
        session.close()
    return folder / "annotator-project"


def with_truth(project: Path) -> Path:
    """The same with the truth as a second set of picks."""
    session = open_project(project, curator="bo")
    try:
        importing.enter(session, importing.read(session, project.parent / "data" / "truth.star"), name="truth")
    finally:
        session.close()
    return project


def with_defects(folder: Path) -> Path:
    """A project of 24 micrographs, one in four with a defect, and a picker's candidates on the others."""
    (folder / "data").mkdir(parents=True)
    base = SimulationParameters(
        size=(1024, 1024), pixel_size_A=1.5, n_particles=60, n_views=30, astigmatism_A=500.0, carbon_probability=0.2
    )
    views, rows = views_for(base), ["micrograph,x,y,score"]
    for i in range(24):
        name, parameters = f"May08_{i:03d}", replace(base, seed=100 + i, n_contaminants=1.0)
        if i % 4 == 3:
            image = simulate_defect(DEFECTS[i // 4], parameters, 0, views)
        else:
            scene = simulate_micrograph(parameters, 0, views)
            image = scene.image
            rows += [f"{name},{x:.1f},{y:.1f},0.5" for x, y in zip(scene.x, scene.y, strict=True)]
        with mrcfile.new(folder / "data" / f"{name}.mrc") as file:
            file.set_data(image)
            file.voxel_size = 1.5
    (folder / "candidates.csv").write_text("\n".join(rows) + "\n")
    session = open_plan(plan(folder / "data", folder / "annotator-project"), curator="ada")
    try:
        session.set_diameter(200)
        importing.enter(session, importing.read(session, folder / "candidates.csv"), name="picker")
    finally:
        session.close()
    return folder / "annotator-project"


def keep_apart(work: Path) -> None:
    """Nobody's own settings are read or shown."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "CRYOPPP_ANNOTATOR_HOME"):
        os.environ[name] = str(work / name.lower())
    os.environ["NAPARI_CONFIG"] = str(work / "napari.yaml")
    os.environ["XDG_RUNTIME_DIR"] = str(work)


def take(project: Path, folder: Path) -> None:
    """Start the window and take the pictures."""
    desk = Desk(1600, 1000)
    program = Program(desk, "annotate", project, "--curator", "ada")
    try:
        wait_until(program.shown, "the micrograph is drawn", 90)
        name = program.ask("b.session.micrographs[1].name")
        wait_until(lambda: program.ask("b.session.current.name") == name, "the second micrograph")
        for key in ("Prior", "Next"):
            desk.key(key)
            wait_until(lambda: program.shown() and program.ask("b.pictures._jobs == {}"), "the neighbour is drawn")
        wait_until(lambda: program.ask("b.session.current.name") == name, "back on the second micrograph")
        desk.key("f")
        desk.point(program.ask("middle(a.micrographs)"))
        desk.picture(folder / "window.png")

        desk.key("question")
        box = wait_until(lambda: program.ask(f"{_HELP} and box({_HELP})"), "the page of keys")
        desk.picture(folder / "help.png", _crop(box))
        desk.key("Escape")
        wait_until(lambda: program.ask("b.window.isActiveWindow()"), "the window has the keyboard again")

        left, top = program.at(0, 0)
        right, bottom = program.at(*program.ask("[b.session.current.width, b.session.current.height]"))
        square = _crop((left + 2, top + 2, (right - left) * 0.62, (bottom - top) * 0.62))
        desk.hands("keydown", "space")
        wait_until(lambda: not program.ask("b.particles_layer.layer.visible"), "the rings are hidden")
        desk.picture(folder / "denoised.png", square)
        desk.hands("keyup", "space")
        desk.key("d")
        wait_until(lambda: program.ask("str(b.view)") == "raw" and program.shown(), "the raw image")
        desk.hands("keydown", "space")
        wait_until(lambda: not program.ask("b.particles_layer.layer.visible"), "the rings are hidden")
        desk.picture(folder / "raw.png", square)
        desk.hands("keyup", "space")
    finally:
        program.kill()
        desk.close()
    _side_by_side(folder / "raw.png", folder / "denoised.png", folder / "raw-denoised.png")
    for name in ("window", "help", "raw-denoised"):
        _shrink(folder / f"{name}.png")


def take_classes(project: Path, folder: Path) -> None:
    """The Pick tab; the demo's picks classified in the window, the worst class chosen; what Check finds."""
    desk = Desk(1280, 800)
    program = Program(desk, "annotate", project, "--curator", "ada")

    def tab(number: int) -> None:
        desk.click(program.ask(_place(f"{_TABS}.tabBar()", f"{_TABS}.tabBar().tabRect({number}).center()")))

    try:
        wait_until(program.shown, "the micrograph is drawn", 90)
        desk.picture(folder / "pick.png")
        tab(1)
        desk.click(program.ask("middle(a.classes.run.start)"))
        wait_until(lambda: program.ask("a.classes.shown is not None"), "the classes are shown", 300)
        desk.click(program.ask("middle(a.classes.sort)"))
        desk.type("worst")
        desk.key("Return")
        wait_until(lambda: program.ask("a.classes.sort.currentText()") == "worst quality", "the worst come first")
        tile = "a.classes.gallery.visualRect(a.classes.model.index(0)).center()"
        desk.click(program.ask(_place("a.classes.gallery.viewport()", tile)))
        wait_until(lambda: program.ask("a.classes.gallery.chosen()"), "it is chosen")
        desk.picture(folder / "classes.png")
        tab(3)
        desk.click(program.ask("middle(a.check.check)"))
        wait_until(lambda: program.ask("a.check.table.rowCount() > 0"), "the check is done", 120)
        desk.picture(folder / "check.png")
    finally:
        program.kill()
        desk.close()
    for name in ("pick", "check"):
        _shrink(folder / f"{name}.png")
    # 256 colours are too few for this one: the red of a suggestion would become yellow
    Image.open(folder / "classes.png").convert("RGB").save(folder / "classes.png", optimize=True)


def take_review(project: Path, folder: Path) -> None:
    """Likely errors, two sets compared, a blind second pass, and the film of a micrograph."""
    desk = Desk(1280, 800)
    program = Program(desk, "annotate", project, "--curator", "ada")

    def page(number: int) -> None:
        bar = "a.review.tabs.tabBar()"
        desk.click(program.ask(_place(bar, f"{bar}.tabRect({number}).center()")))

    try:
        wait_until(program.shown, "the micrograph is drawn", 240)
        desk.click(program.ask(_place(f"{_TABS}.tabBar()", f"{_TABS}.tabBar().tabRect(2).center()")))
        desk.click(program.ask("middle(a.review.queue.of)"))
        desk.type("tru")
        desk.key("Return")
        desk.click(program.ask("middle(a.review.queue.find)"))
        wait_until(lambda: program.ask("a.review.queue.number is not None"), "the queue is there", 300)
        for _ in range(3):
            wait_until(program.shown, "the item is drawn")
            desk.key("x")
        wait_until(program.shown, "the item is drawn")
        desk.picture(folder / "review-errors.png")

        page(1)
        for box, name in (("first", "tru"), ("second", "pick")):
            desk.click(program.ask(f"middle(a.review.sets.{box})"))
            desk.type(name)
            desk.key("Return")
        desk.click(program.ask("middle(a.review.sets.start)"))
        wait_until(lambda: program.ask("a.review.sets.table.rowCount() > 0"), "both are compared", 120)
        desk.key("f")
        desk.click(program.ask("middle(a.micrographs)"))
        desk.key("f")
        desk.picture(folder / "review-compare.png")

        page(2)
        desk.click(program.ask("middle(a.review.second.begin)"))
        wait_until(lambda: program.ask("bool(button('Picks to look at again'))"), "the dialog")
        desk.key("Return")
        wait_until(lambda: program.ask("a.review.second.number is not None"), "the first place", 60)
        wait_until(program.shown, "the place is drawn")
        desk.picture(folder / "review-second-pass.png")

        desk.click(program.ask("middle(a.status.history)"))
        desk.click(program.ask("middle(a.history.film.start)"))
        wait_until(lambda: program.ask("a.history.film.slider.isVisible()"), "the film is read", 60)
        desk.picture(folder / "review-history.png")
    finally:
        program.kill()
        desk.close()
    for name in ("errors", "compare", "second-pass", "history"):
        _shrink(folder / f"review-{name}.png")


def take_screen(project: Path, folder: Path) -> None:
    """The tab Screen: all measured, a scatter, a range that leaves some out, thumbnails sorted by a number."""
    desk = Desk(1280, 800)
    program = Program(desk, "annotate", project, "--curator", "ada")
    try:
        wait_until(program.shown, "the micrograph is drawn", 240)
        tab = f"{_TABS}.tabBar().tabRect({_TABS}.indexOf(a.screen)).center()"
        desk.click(program.ask(_place(f"{_TABS}.tabBar()", tab)))
        desk.click(program.ask("middle(a.screen.measure)"))
        wait_until(lambda: program.ask("len(a.screen.rows) == 24"), "all are measured", 300)
        for box, name in (("a.screen.y", "defocus"), ("a.screen.grid.by", "rings to")):
            desk.click(program.ask(f"middle({box})"))
            desk.type(name)
            desk.key("Return")
        desk.click(program.ask("middle(a.screen.grid.way)"))
        left, top, width, height = program.ask("box(a.screen.slider._slider)")
        line = top + height / 2
        desk.drag([(left + width - 6, line), (left + 0.75 * width, line)], lambda _place: True)
        wait_until(lambda: program.ask("bool(a.screen.outside()) and b.runner.idle"), "some are left out")
        tile = "a.screen.grid.view.visualRect(a.screen.grid.model.index(4)).center()"
        desk.click(program.ask(_place("a.screen.grid.view.viewport()", tile)))
        wait_until(program.shown, "the micrograph is drawn")
        desk.picture(folder / "screen.png")
    finally:
        program.kill()
        desk.close()
    # 256 colours are too few: the colour of a rejected pick would become that of an undecided one
    Image.open(folder / "screen.png").convert("RGB").save(folder / "screen.png", optimize=True)


_TABS = "a.classes.parentWidget().parentWidget()"
_HELP = "next((w for w in QApplication.topLevelWidgets() if type(w).__name__ == 'HelpDialog' and w.isVisible()), None)"


def _place(widget: str, point: str) -> str:
    """Asks where a point of a widget is on the screen."""
    return f"(lambda p: [p.x(), p.y()])({widget}.mapToGlobal({point}))"


def _crop(box: tuple[float, float, float, float]) -> str:
    left, top, width, height = (round(value) for value in box)
    return f"{width}x{height}+{left}+{top}"


def _side_by_side(first: Path, second: Path, out: Path) -> None:
    pictures = [Image.open(file).convert("RGB") for file in (first, second)]
    width, height = pictures[0].size
    both = Image.new("RGB", (2 * width + 8, height), "white")
    for k, picture in enumerate(pictures):
        both.paste(picture, (k * (width + 8), 0))
    both.save(out)
    first.unlink()
    second.unlink()


def _shrink(file: Path) -> None:
    """256 colours are enough here, and a third of the bytes."""
    picture = Image.open(file).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


def main() -> None:
    """Make them all."""
    if missing := missing_tools():
        sys.exit(f"not installed: {', '.join(missing)}")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "images"
    wanted = sys.argv[2:] or ["window", "classes", "review", "screen"]
    with tempfile.TemporaryDirectory() as work:
        keep_apart(Path(work))
        project = prepare(Path(work) / "simulated")
        if "window" in wanted:
            take(project, folder)
        if "classes" in wanted:
            take_classes(project, folder)
        if "review" in wanted:
            take_review(with_truth(project), folder)
        if "screen" in wanted:
            take_screen(with_defects(Path(work) / "session"), folder)
    for file in sorted(folder.glob("*.png")):
        print(f"{file}  {file.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
