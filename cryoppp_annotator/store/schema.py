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
HEAD = "0001"

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
    Column("extra", Text),  # JSON of imported columns nobody here understands, as their own text
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
