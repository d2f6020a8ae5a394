"""Kinds of particle; the colour of a pick set."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the table and columns; picks that are there are of no species."""
    op.create_table(
        "species",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("colour", sa.String(7), nullable=False, server_default=""),
        sa.Column("key", sa.String(32), nullable=False, server_default=""),
        sa.Column("diameter_A", sa.Float(53)),
    )
    op.add_column("particle", sa.Column("species", sa.Integer, nullable=False, server_default="0"))
    op.add_column("pick_set", sa.Column("colour", sa.String(7), nullable=False, server_default=""))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("pick_set", "colour")
    op.drop_column("particle", "species")
    op.drop_table("species")
