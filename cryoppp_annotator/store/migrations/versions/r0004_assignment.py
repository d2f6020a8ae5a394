"""Whose micrographs are whose; on a server names may be as long as in a file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

#: A file does not hold texts to a length, a server does.
_NAMES = {
    "setting": ("key",),
    "micrograph": ("name", "fingerprint", "state_by", "assigned"),
    "pick_set": ("name", "kind", "curator"),
    "species": ("name", "key"),
    "change": ("curator", "verb"),
    "region": ("curator",),
    "record": ("kind", "engine", "version", "curator"),
    "class_run": ("name",),
}


def upgrade() -> None:
    """Add the column; nothing is assigned to anybody."""
    op.add_column("micrograph", sa.Column("assigned", sa.String(64), nullable=False, server_default=""))
    if op.get_bind().dialect.name != "postgresql":
        return
    for table, columns in _NAMES.items():
        for column in columns:
            op.alter_column(table, column, type_=sa.Text())
    op.alter_column("record", "seed", type_=sa.BigInteger())


def downgrade() -> None:
    """Drop it."""
    op.drop_column("micrograph", "assigned")
