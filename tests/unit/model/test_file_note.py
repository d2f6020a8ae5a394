"""What a note is about is kept beside its words, on every way a note goes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

from cryoppp_annotator.formats.plain import TABLE
from cryoppp_annotator.model.file_note import FileNote, NoteKind, without


def test_a_note_is_chosen_by_what_it_is_about_not_by_its_words() -> None:
    axes = FileNote("y is taken as RELION's", NoteKind.AXES)
    plain, of_a_plugin = FileNote("pixel size in doubt, says check-frame"), "check-frame was not asked"
    notes = (axes, plain, of_a_plugin, FileNote("no size", NoteKind.PIXEL_SIZE))
    sent = pickle.loads(pickle.dumps(notes))
    assert without(sent, NoteKind.AXES, NoteKind.PIXEL_SIZE) == (plain, of_a_plugin)
    assert without(sent) == notes
    assert json.loads(json.dumps(sent)) == list(notes)


def test_readers_say_what_an_image_can_settle(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("x,y,width,height\n10,20,5,5\n")
    notes = TABLE.read(file).notes
    assert len(notes) == 2
    assert len(without(notes, NoteKind.AXES)) == 1
