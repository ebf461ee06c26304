"""The bookkeeping tables as their first version was, in each engine's own words: what an upgrade starts from.

Never change them: databases out there look like this.
"""

from __future__ import annotations

from typing import Final

VERSION_1: Final[dict[str, tuple[str, ...]]] = {
    "sqlite": (
        """
CREATE TABLE "load_schema" (
    "version" INTEGER NOT NULL,
    "applied_at" TEXT NOT NULL,
    PRIMARY KEY ("version")
) WITHOUT ROWID
""",
        """
CREATE TABLE "load_runs" (
    "load_id" INT NOT NULL,
    "source_name" TEXT NOT NULL,
    "contract" TEXT NOT NULL,
    "contract_version" INTEGER NOT NULL,
    "plan_digest" TEXT NOT NULL,
    "tables" TEXT NOT NULL,
    "started_at" TEXT NOT NULL,
    "finished_at" TEXT,
    "state" TEXT NOT NULL,
    "settings" TEXT NOT NULL,
    "summary" TEXT,
    PRIMARY KEY ("load_id")
)
""",
        """
CREATE TABLE "load_ledger" (
    "digest" BLOB NOT NULL,
    "source_key" TEXT NOT NULL,
    "state" TEXT NOT NULL,
    "load_id" INTEGER NOT NULL,
    "batch" INTEGER NOT NULL,
    "document_hash" BLOB,
    "row_counts" TEXT NOT NULL,
    "committed_at" TEXT NOT NULL,
    PRIMARY KEY ("digest")
)
""",
        """
CREATE TABLE "load_quarantine" (
    "digest" BLOB NOT NULL,
    "load_id" INTEGER NOT NULL,
    "source_key" TEXT NOT NULL,
    "stage" TEXT NOT NULL,
    "code" TEXT NOT NULL,
    "message" TEXT NOT NULL,
    "table_name" TEXT,
    "column_name" TEXT,
    "path" TEXT,
    "quarantined_at" TEXT NOT NULL,
    PRIMARY KEY ("digest")
)
""",
    ),
    "postgresql": (
        """
CREATE TABLE "load_schema" (
    "version" integer NOT NULL,
    "applied_at" timestamp(6) NOT NULL,
    PRIMARY KEY ("version")
)
""",
        """
CREATE TABLE "load_runs" (
    "load_id" integer NOT NULL,
    "source_name" text NOT NULL,
    "contract" text NOT NULL,
    "contract_version" integer NOT NULL,
    "plan_digest" varchar(64) NOT NULL,
    "tables" text NOT NULL,
    "started_at" timestamp(6) NOT NULL,
    "finished_at" timestamp(6),
    "state" varchar(16) NOT NULL,
    "settings" text NOT NULL,
    "summary" text,
    PRIMARY KEY ("load_id")
)
""",
        """
CREATE TABLE "load_ledger" (
    "digest" bytea NOT NULL,
    "source_key" text NOT NULL,
    "state" varchar(16) NOT NULL,
    "load_id" integer NOT NULL,
    "batch" bigint NOT NULL,
    "document_hash" bytea,
    "row_counts" text NOT NULL,
    "committed_at" timestamp(6) NOT NULL,
    PRIMARY KEY ("digest")
)
""",
        """
CREATE TABLE "load_quarantine" (
    "digest" bytea NOT NULL,
    "load_id" integer NOT NULL,
    "source_key" text NOT NULL,
    "stage" varchar(16) NOT NULL,
    "code" varchar(100) NOT NULL,
    "message" text NOT NULL,
    "table_name" text,
    "column_name" text,
    "path" text,
    "quarantined_at" timestamp(6) NOT NULL,
    PRIMARY KEY ("digest")
)
""",
    ),
    "mssql": (
        """
CREATE TABLE [load_schema] (
    [version] int NOT NULL,
    [applied_at] datetime2(6) NOT NULL,
    PRIMARY KEY ([version])
)
""",
        """
CREATE TABLE [load_runs] (
    [load_id] int NOT NULL,
    [source_name] nvarchar(max) NOT NULL,
    [contract] nvarchar(max) NOT NULL,
    [contract_version] int NOT NULL,
    [plan_digest] varchar(64) NOT NULL,
    [tables] nvarchar(max) NOT NULL,
    [started_at] datetime2(6) NOT NULL,
    [finished_at] datetime2(6) NULL,
    [state] varchar(16) NOT NULL,
    [settings] nvarchar(max) NOT NULL,
    [summary] nvarchar(max) NULL,
    PRIMARY KEY ([load_id])
)
""",
        """
CREATE TABLE [load_ledger] (
    [digest] binary(16) NOT NULL,
    [source_key] nvarchar(max) NOT NULL,
    [state] varchar(16) NOT NULL,
    [load_id] int NOT NULL,
    [batch] bigint NOT NULL,
    [document_hash] binary(16) NULL,
    [row_counts] varchar(max) NOT NULL,
    [committed_at] datetime2(6) NOT NULL,
    PRIMARY KEY ([digest])
)
""",
        """
CREATE TABLE [load_quarantine] (
    [digest] binary(16) NOT NULL,
    [load_id] int NOT NULL,
    [source_key] nvarchar(max) NOT NULL,
    [stage] varchar(16) NOT NULL,
    [code] varchar(100) NOT NULL,
    [message] nvarchar(max) NOT NULL,
    [table_name] nvarchar(max) NULL,
    [column_name] nvarchar(max) NULL,
    [path] nvarchar(max) NULL,
    [quarantined_at] datetime2(6) NOT NULL,
    PRIMARY KEY ([digest])
)
""",
    ),
}
