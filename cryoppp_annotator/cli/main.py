"""The command ``cryoppp-annotator``: what every sub-command shares, above all how it ends.

Exit codes: 0 done, 1 the work failed or found problems, 2 wrong usage, 130 cancelled. Nothing heavy is imported here
or at the top of a sub-command's file, so that ``--help`` and ``--version`` answer at once and without Qt.
"""

from __future__ import annotations

import codecs
import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from .. import __version__
from ..errors import AnnotatorError, Cancelled, disk_reason, lacks_memory, memory_reason
from ..jobs.memory import reserve_little
from . import (
    annotate,
    changed,
    check_frame,
    classify,
    compare,
    convert,
    ctf,
    demo,
    denoise,
    doctor,
    evaluate,
    export,
    export_classes,
    extract,
    history,
    import_,
    import_classes,
    label_errors,
    lint,
    merge,
    passport,
    pick,
    recover,
    select,
    simulate,
    species,
    status,
    verdict,
    volume,
)
from .options import resolve_addresses, spread
from .visible import printing_visibly

PROGRAM = "cryoppp-annotator"
CANCELLED = 130
#: Signs of messages, and what is printed where the terminal or the file takes ASCII only.
_IN_ASCII = {"Å": "A", "µ": "u", "°": " deg", "·": "-", "–": "-", "×": "x", "…": "...", "“": '"', "”": '"'}

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="\b\nExample:\n  cryoppp-annotator demo",
)

for _name, _module, _function in (
    ("annotate", annotate, annotate.annotate),
    ("demo", demo, demo.demo),
    ("doctor", doctor, doctor.doctor),
    ("import", import_, import_.import_),
    ("status", status, status.status),
    ("changed", changed, changed.changed),
    ("convert", convert, convert.convert),
    ("export", export, export.export),
    ("check-frame", check_frame, check_frame.check_frame),
    ("lint", lint, lint.lint),
    ("select", select, select.select),
    ("species", species, species.species),
    ("history", history, history.history),
    ("merge", merge, merge.merge),
    ("denoise", denoise, denoise.denoise),
    ("ctf", ctf, ctf.ctf),
    ("passport", passport, passport.passport),
    ("pick", pick, pick.pick),
    ("evaluate", evaluate, evaluate.evaluate),
    ("compare", compare, compare.compare),
    ("errors", label_errors, label_errors.errors),
    ("extract", extract, extract.extract),
    ("classify", classify, classify.classify),
    ("import-classes", import_classes, import_classes.import_classes),
    ("export-classes", export_classes, export_classes.export_classes),
    ("verdict", verdict, verdict.verdict),
    ("volume", volume, volume.volume),
    ("simulate", simulate, simulate.simulate),
    ("recover", recover, recover.recover),
):
    app.command(_name, epilog=f"\b\nExample:\n{_module.EXAMPLE}")(_function)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{PROGRAM} {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error, and the log.")] = False,
) -> None:
    """Label protein particles in cryo-EM micrographs."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; ``sys.argv`` by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    # wherever it stands: who sees an error repeats the command with --debug at its end
    given = [argument for argument in given if argument != "--debug"] or ["--help"]
    if debug:
        given.insert(0, "--debug")
    _print_in_any_encoding()
    reserve_little()
    try:
        with printing_visibly():
            _log_to_stderr(debug)
            code = _run(given, debug)
            sys.stdout.flush()
    except BrokenPipeError:
        # the reader has seen enough; nothing may be written there any more, not even when Python ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(arguments: list[str], debug: bool) -> int:
    try:
        code = app(spread(resolve_addresses(arguments)), prog_name=PROGRAM, standalone_mode=False)
    except SystemExit as end:  # how typer ends on a broken pipe
        code = end.code if isinstance(end.code, int) else 1
    except (KeyboardInterrupt, Abort, Cancelled):
        code = CANCELLED
    except TyperException as error:
        command = getattr(getattr(error, "ctx", None), "command_path", PROGRAM)
        return _fail(f"{error.format_message().rstrip('.')} (see {command} --help)", error.exit_code)
    except BrokenPipeError:
        raise
    except AnnotatorError as error:
        if debug:
            traceback.print_exc()
        return _fail(str(error), 1)
    except OSError as error:
        if debug:
            traceback.print_exc()
        if lacks_memory(error):
            return _fail(memory_reason(error), 1)
        where = f"{os.fsdecode(error.filename)}: " if error.filename else ""
        return _fail(f"{where}{disk_reason(error)}; what was finished before is kept", 1)
    except MemoryError as error:
        if debug:
            traceback.print_exc()
        return _fail(memory_reason(error), 1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)", 1)
    if code == CANCELLED:
        print("cancelled; what was finished is kept", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code


class _OneLine(logging.Formatter):
    """A warning is one line; its traceback is for ``--debug``."""

    def format(self, record: logging.LogRecord) -> str:
        """Level and first line."""
        return f"{record.levelname.lower()}: {record.getMessage()}".split("\n", 1)[0]


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_IN_ASCII.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def _print_in_any_encoding() -> None:
    """Where the output is no UTF-8, signs that it does not know are spelled in ASCII instead of ending the command."""
    codecs.register_error("in ASCII", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_utf_8 = codecs.lookup(stream.encoding).name == "utf-8"
            stream.reconfigure(errors="backslashreplace" if is_utf_8 else "in ASCII")


def _log_to_stderr(debug: bool) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s") if debug else _OneLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger(__package__).setLevel(logging.INFO if debug else logging.NOTSET)  # the log of jobs
