"""The tables. Times are seconds since 1970 (UTC), documents are JSON text."""

from __future__ import annotations

from sqlalchemy import Column, Float, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

SCHEMA = 1
META = MetaData()

about = Table("about", META, Column("key", String(32), primary_key=True), Column("value", String(64), nullable=False))

studies = Table(
    "studies", META,
    Column("study_uid", String(64), primary_key=True),
    *(Column(name, Text, nullable=False, default="") for name in (
        "patient_id", "patient_name", "birth_date", "sex", "study_date", "study_time", "accession", "study_description", "study_id", "referring")),
    Column("aside", Text),
    Column("first", Float, nullable=False),
)

series = Table(
    "series", META,
    Column("series_uid", String(64), primary_key=True),
    Column("study_uid", String(64), nullable=False, index=True),
    *(Column(name, Text, nullable=False, default="") for name in ("modality", "body_part", "description", "number", "called_ae", "calling_ae")),
    Column("first", Float, nullable=False),
    Column("last", Float, nullable=False),
    Column("instances", Integer, nullable=False),
    Column("upto", Integer, nullable=False),
    Column("judged", Integer, nullable=False, default=0),
)

objects = Table(
    "objects", META,
    Column("arrival", Integer, primary_key=True, autoincrement=True),
    Column("sop_uid", String(64), nullable=False, unique=True),
    Column("class_uid", String(64), nullable=False),
    Column("series_uid", String(64), nullable=False, index=True),
    Column("study_uid", String(64), nullable=False, index=True),
    Column("syntax", String(64), nullable=False),
    Column("number", Text, nullable=False, default=""),
    Column("sha256", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("header", Text, nullable=False),
    Column("at", Float, nullable=False),
)

refused = Table(
    "refused", META,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("path", Text, nullable=False),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("code", String(32), nullable=False),
    Column("reason", Text, nullable=False),
    Column("sop_uid", Text, nullable=False, default=""),
    Column("study_uid", Text, nullable=False, default=""),
    Column("calling_ae", Text, nullable=False, default=""),
    Column("at", Float, nullable=False),
)

jobs = Table(
    "jobs", META,
    Column("id", String(64), primary_key=True),
    Column("series_uid", String(64), nullable=False, index=True),
    Column("study_uid", String(64), nullable=False),
    Column("model", String(64), nullable=False),
    Column("route", Text, nullable=False),
    Column("upto", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("at", Float, nullable=False),
    Column("created", Float, nullable=False),
    Column("error", Text),
)
Index("jobs_due", jobs.c.state, jobs.c.at)

findings = Table(
    "findings", META,
    Column("id", String(64), primary_key=True),
    Column("study_uid", String(64), nullable=False, index=True),
    Column("series_uid", String(64), nullable=False),
    Column("patient_id", Text, nullable=False, index=True),
    Column("model", String(64), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("urgency", Float, nullable=False),
    Column("words", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("superseded_by", String(64)),
    Column("released", Integer, nullable=False, default=0),
    Column("created", Float, nullable=False),
)

decisions = Table(
    "decisions", META,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("finding_id", String(64), nullable=False, index=True),
    Column("user", Text, nullable=False),
    Column("action", String(16), nullable=False),
    Column("comment", Text, nullable=False),
    Column("correction", Text),
    Column("at", Float, nullable=False),
)

outgoing = Table(
    "outgoing", META,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("finding_id", String(64), nullable=False, index=True),
    Column("peer", String(64), nullable=False),
    Column("path", Text, nullable=False),
    Column("sop_uid", String(64), nullable=False),
    Column("class_uid", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("tries", Integer, nullable=False, default=0),
    Column("at", Float, nullable=False),
    Column("error", Text),
    UniqueConstraint("peer", "sop_uid", name="once_a_peer"),
)
Index("outgoing_due", outgoing.c.state, outgoing.c.at)

audit = Table(
    "audit", META,
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("user", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("hash", String(64), nullable=False),
)

APPEND_ONLY = tuple(
    f"CREATE TRIGGER IF NOT EXISTS audit_no_{verb} BEFORE {verb} ON audit BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END"
    for verb in ("update", "delete")
)
"""For SQLite. The chain of hashes shows changes made past these, on any database."""

APPEND_ONLY_POSTGRES = (
    "CREATE OR REPLACE FUNCTION vesalius_append_only() RETURNS trigger AS "
    "$$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $$ LANGUAGE plpgsql",
    "CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit FOR EACH STATEMENT EXECUTE FUNCTION vesalius_append_only()",
)
HAS_TRIGGER = "SELECT 1 FROM pg_trigger WHERE tgname = 'audit_append_only' AND tgrelid = 'audit'::regclass"
"""The same for PostgreSQL (11 and later), made once: a table's triggers are not touched while another service writes to it."""
