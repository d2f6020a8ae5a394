"""The first schema: settings, micrographs, pick sets, particles, changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "setting",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "id_counter",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("next", sa.Integer, nullable=False),
    )
    op.create_table(
        "micrograph",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("path", sa.Text, nullable=False, unique=True),
        sa.Column("width", sa.Integer, nullable=False, server_default="0"),
        sa.Column("height", sa.Integer, nullable=False, server_default="0"),
        sa.Column("header_pixel_size_A", sa.Float),
        sa.Column("own_pixel_size_A", sa.Float),
        sa.Column("n_frames", sa.Integer, nullable=False, server_default="1"),
        sa.Column("frame", sa.Integer, nullable=False, server_default="-1"),
        sa.Column("fingerprint", sa.String(80), nullable=False, server_default=""),
        sa.Column("state", sa.String(16), nullable=False, server_default="unseen"),
        sa.Column("state_by", sa.String(64), nullable=False, server_default=""),
        sa.Column("problem", sa.Text, nullable=False, server_default=""),
        sa.Column("n_accepted", sa.Integer, nullable=False, server_default="0"),
        sa.Column("n_undecided", sa.Integer, nullable=False, server_default="0"),
        sa.Column("n_rejected", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "pick_set",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("source", sa.Text, nullable=False, server_default=""),
        sa.Column("curator", sa.String(64), nullable=False, server_default=""),
        sa.Column("frame", sa.Text, nullable=False, server_default="{}"),
        sa.Column("parameters", sa.Text, nullable=False, server_default="{}"),
        sa.Column("created", sa.String(32), nullable=False, server_default=""),
    )
    op.create_table(
        "particle",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("micrograph", sa.Integer, sa.ForeignKey("micrograph.id"), nullable=False),
        sa.Column("pick_set", sa.Integer, sa.ForeignKey("pick_set.id"), nullable=False),
        sa.Column("x", sa.Float(53), nullable=False),
        sa.Column("y", sa.Float(53), nullable=False),
        sa.Column("diameter_A", sa.Float(53)),
        sa.Column("score", sa.Float(53)),
        sa.Column("decision", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("reason", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("class_id", sa.Integer, nullable=False, server_default="0"),
        sa.Column("extra", sa.Text),
    )
    op.create_index("particle_by_micrograph", "particle", ["micrograph"])
    op.create_table(
        "change",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("curator", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("target", sa.Integer),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("verb", sa.String(24), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("micrograph", sa.Integer),
        sa.Column("n_particles", sa.Integer, nullable=False, server_default="0"),
        sa.Column("payload", sa.LargeBinary),
    )
    op.create_index("change_by_state", "change", ["curator", "state", "id"])


def downgrade() -> None:
    """Drop every table."""
    for name in ("change", "particle", "pick_set", "micrograph", "id_counter", "setting"):
        op.drop_table(name)
