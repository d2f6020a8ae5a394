"""Tables of the project database. Plain SQLAlchemy, so that a lab can point the same code at PostgreSQL.

``HEAD`` is the revision this code expects; the migrations that lead there are in ``migrations/versions``.
"""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

#: Alembic revision of this schema.
HEAD = "0004"

metadata = MetaData()

setting = Table(
    "setting",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
)

#: Ids that were handed out, so that none is ever used twice.
id_counter = Table(
    "id_counter",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("next", Integer, nullable=False),
)

micrograph = Table(
    "micrograph",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("path", Text, nullable=False, unique=True),
    Column("width", Integer, nullable=False, server_default="0"),
    Column("height", Integer, nullable=False, server_default="0"),
    Column("header_pixel_size_A", Float),
    Column("own_pixel_size_A", Float),
    Column("n_frames", Integer, nullable=False, server_default="1"),
    Column("frame", Integer, nullable=False, server_default="-1"),
    Column("fingerprint", String(80), nullable=False, server_default=""),
    Column("state", String(16), nullable=False, server_default="unseen"),
    Column("state_by", String(64), nullable=False, server_default=""),
    Column("problem", Text, nullable=False, server_default=""),
    Column("optics", Text, nullable=False, server_default=""),  # JSON, see model.micrograph.Micrograph
    Column("picture", Text, nullable=False, server_default=""),
    Column("assigned", String(64), nullable=False, server_default=""),
    Column("n_accepted", Integer, nullable=False, server_default="0"),
    Column("n_undecided", Integer, nullable=False, server_default="0"),
    Column("n_rejected", Integer, nullable=False, server_default="0"),
)

pick_set = Table(
    "pick_set",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("kind", String(16), nullable=False),  # hand, import, picker
    Column("source", Text, nullable=False, server_default=""),
    Column("curator", String(64), nullable=False, server_default=""),
    Column("frame", Text, nullable=False, server_default="{}"),  # JSON of the SourceFrame and how it was checked
    Column("parameters", Text, nullable=False, server_default="{}"),
    Column("created", String(32), nullable=False, server_default=""),
    Column("colour", String(7), nullable=False, server_default=""),  # #RRGGBB; empty = as the window chooses
)

#: Kinds of particle.
species = Table(
    "species",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False),
    Column("colour", String(7), nullable=False, server_default=""),
    Column("key", String(32), nullable=False, server_default=""),
    Column("diameter_A", Float(53)),  # NULL = the project's
)

particle = Table(
    "particle",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("micrograph", Integer, ForeignKey("micrograph.id"), nullable=False),
    Column("pick_set", Integer, ForeignKey("pick_set.id"), nullable=False),
    Column("x", Float(53), nullable=False),
    Column("y", Float(53), nullable=False),
    Column("diameter_A", Float(53)),
    Column("score", Float(53)),
    Column("decision", SmallInteger, nullable=False, server_default="0"),
    Column("reason", SmallInteger, nullable=False, server_default="0"),
    Column("class_id", Integer, nullable=False, server_default="0"),
    Column("species", Integer, nullable=False, server_default="0"),  # 0 = no species: the project's one kind
    Column("extra", Text),  # JSON of imported columns that this program does not interpret, as text
    Index("particle_by_micrograph", "micrograph"),
)

change = Table(
    "change",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", String(32), nullable=False),
    Column("curator", String(64), nullable=False),
    Column("kind", String(8), nullable=False),  # do, undo, redo, visit
    Column("target", Integer),  # for undo and redo: the change taken back or repeated
    Column("state", String(10), nullable=False),  # of a do: applied, undone, abandoned
    Column("verb", String(24), nullable=False),
    Column("title", Text, nullable=False),
    Column("micrograph", Integer),
    Column("n_particles", Integer, nullable=False, server_default="0"),
    Column("payload", LargeBinary),
    Index("change_by_state", "curator", "state", "id"),
)

#: Polygons drawn or found on a micrograph, where there is nothing to pick.
region = Table(
    "region",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("micrograph", Integer, ForeignKey("micrograph.id"), nullable=False),
    Column("reason", SmallInteger, nullable=False, server_default="0"),
    Column("origin", String(16), nullable=False),  # hand, found
    Column("vertices", Text, nullable=False),  # JSON, [[y, x], ...], canonical px
    Column("curator", String(64), nullable=False, server_default=""),
    Column("created", String(32), nullable=False, server_default=""),
    Index("region_by_micrograph", "micrograph"),
)

#: Provenance of a job whose result is kept.
record = Table(
    "record",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(32), nullable=False),  # classify, propose, ...
    Column("engine", String(64), nullable=False),
    Column("version", String(32), nullable=False, server_default=""),
    Column("parameters", Text, nullable=False, server_default="{}"),
    Column("inputs", Text, nullable=False, server_default="{}"),
    Column("counts", Text, nullable=False, server_default="{}"),
    Column("seed", Integer),
    Column("curator", String(64), nullable=False, server_default=""),
    Column("started", String(32), nullable=False, server_default=""),
    Column("seconds", Float(53)),
)

#: A 2D classification: made here, or brought from another program.
class_run = Table(
    "class_run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("record", Integer, ForeignKey("record.id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("head", Integer, nullable=False, server_default="0"),  # history line up to which picks were seen
    Column("pixel_size_A", Float(53), nullable=False),  # of the averages
    Column("folder", Text, nullable=False),  # of the averages, relative to the project
    Column("summary", Text, nullable=False, server_default="[]"),  # JSON, one object a class
)

class_member = Table(
    "class_member",
    metadata,
    Column("run", Integer, ForeignKey("class_run.id"), primary_key=True),
    Column("particle", Integer, primary_key=True, autoincrement=False),  # may be deleted meanwhile, and come back
    Column("number", Integer, nullable=False),  # of the class, from 1; 0 = could not be classified
    Column("posterior", Float(53)),
    Column("shift_x", Float(53)),  # from the pick to the class's centre, canonical px
    Column("shift_y", Float(53)),
    Column("angle_deg", Float(53)),
    Column("x", Float(53), nullable=False),  # where the pick lay then: it may have been moved since
    Column("y", Float(53), nullable=False),
    Index("class_member_by_class", "run", "number"),
)
