"""Regions, provenance records, class runs; what is known of a micrograph's optics, a picture of another program."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables and columns."""
    op.add_column("micrograph", sa.Column("optics", sa.Text, nullable=False, server_default=""))
    op.add_column("micrograph", sa.Column("picture", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "region",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("micrograph", sa.Integer, sa.ForeignKey("micrograph.id"), nullable=False),
        sa.Column("reason", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("vertices", sa.Text, nullable=False),
        sa.Column("curator", sa.String(64), nullable=False, server_default=""),
        sa.Column("created", sa.String(32), nullable=False, server_default=""),
    )
    op.create_index("region_by_micrograph", "region", ["micrograph"])
    op.create_table(
        "record",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("engine", sa.String(64), nullable=False),
        sa.Column("version", sa.String(32), nullable=False, server_default=""),
        sa.Column("parameters", sa.Text, nullable=False, server_default="{}"),
        sa.Column("inputs", sa.Text, nullable=False, server_default="{}"),
        sa.Column("counts", sa.Text, nullable=False, server_default="{}"),
        sa.Column("seed", sa.Integer),
        sa.Column("curator", sa.String(64), nullable=False, server_default=""),
        sa.Column("started", sa.String(32), nullable=False, server_default=""),
        sa.Column("seconds", sa.Float(53)),
    )
    op.create_table(
        "class_run",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("record", sa.Integer, sa.ForeignKey("record.id"), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("head", sa.Integer, nullable=False, server_default="0"),
        sa.Column("pixel_size_A", sa.Float(53), nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False, server_default="[]"),
    )
    op.create_table(
        "class_member",
        sa.Column("run", sa.Integer, sa.ForeignKey("class_run.id"), primary_key=True),
        sa.Column("particle", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("posterior", sa.Float(53)),
        sa.Column("shift_x", sa.Float(53)),
        sa.Column("shift_y", sa.Float(53)),
        sa.Column("angle_deg", sa.Float(53)),
        sa.Column("x", sa.Float(53), nullable=False),
        sa.Column("y", sa.Float(53), nullable=False),
    )
    op.create_index("class_member_by_class", "class_member", ["run", "number"])


def downgrade() -> None:
    """Drop them."""
    for name in ("class_member", "class_run", "record", "region"):
        op.drop_table(name)
    op.drop_column("micrograph", "picture")
    op.drop_column("micrograph", "optics")
