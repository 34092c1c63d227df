// The tables, and the statements on them.

import IdempotencyStore

/// A table for commands, one for deletes' marks, a sequence for fencing tokens, and the version of all that.
///
/// `record` is ``RecordCodec``'s form, `history` a ``CommandHistory``'s bytes (since version 2; empty or null for none). A
/// version changes tables only in ways that the version before can live with, and
/// says in `oldest_reader` which versions can.
enum PostgresSchema {
    static let version: Int64 = 2
    /// The first version that can work with these tables.
    static let oldestReader: Int64 = 1

    static let findVersion = "SELECT to_regclass('route_worker_schema') IS NOT NULL"
    static let readVersion = "SELECT version::bigint, oldest_reader::bigint FROM route_worker_schema"

    /// Tokens come in blocks: the workers would otherwise go through the sequence once for each claim.
    static let tokensInBlock: Int64 = 65_536

    /// Makes the tables, or those of an earlier version into these. One transaction; workers that start together take turns
    /// by the lock, whose number only says "route-worker".
    static let create: [String] = [
        "BEGIN",
        "SELECT pg_advisory_xact_lock(8245938021574665074)",
        "CREATE TABLE IF NOT EXISTS route_worker_schema (version integer NOT NULL, oldest_reader integer NOT NULL)",
        """
        INSERT INTO route_worker_schema (version, oldest_reader)
        SELECT \(version), \(oldestReader) WHERE NOT EXISTS (SELECT FROM route_worker_schema)
        """,
        // Room on every page, so that a command's later versions stay on it and no index changes with them.
        """
        CREATE TABLE IF NOT EXISTS route_worker_command (
            key bytea PRIMARY KEY,
            record bytea NOT NULL,
            keep_until bigint NOT NULL,
            look_at bigint NOT NULL
        ) WITH (fillfactor = 60)
        """,
        // Without a default no row is rewritten; the version before names its columns and leaves this one alone.
        "ALTER TABLE route_worker_command ADD COLUMN IF NOT EXISTS history bytea",
        "UPDATE route_worker_schema SET version = \(version) WHERE version < \(version)",
        "CREATE INDEX IF NOT EXISTS route_worker_command_look_at ON route_worker_command (look_at)",
        """
        CREATE TABLE IF NOT EXISTS route_worker_mark (
            key bytea PRIMARY KEY,
            issued_at bigint NOT NULL,
            keep_until bigint NOT NULL
        )
        """,
        "CREATE INDEX IF NOT EXISTS route_worker_mark_keep_until ON route_worker_mark (keep_until)",
        "CREATE SEQUENCE IF NOT EXISTS route_worker_token INCREMENT BY \(tokensInBlock)",
        "COMMIT",
    ]

    enum Statement: String, CaseIterable {
        case findCommands, findMarks, now, tokens, insertCommands, updateCommands, removeCommands, leaveMarks,
            removeMarks
        case searchCommands, purge

        var sql: String {
            switch self {
            // In the order of the keys, as is everything that locks, so that workers never wait for each other in a ring.
            case .findCommands:
                """
                SELECT key, record, history FROM route_worker_command WHERE key = ANY ($1::bytea[])
                ORDER BY key FOR UPDATE
                """
            case .findMarks:
                "SELECT key, issued_at, keep_until FROM route_worker_mark WHERE key = ANY ($1::bytea[])"
            case .now:
                "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
            case .tokens:
                "SELECT nextval('route_worker_token')"
            case .insertCommands:
                """
                INSERT INTO route_worker_command (key, record, history, keep_until, look_at)
                SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[])
                """
            case .updateCommands:
                """
                UPDATE route_worker_command AS command
                SET record = new.record, history = new.history, keep_until = new.keep_until,
                    look_at = coalesce(new.look_at, command.look_at)
                FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[])
                    AS new (key, record, history, keep_until, look_at)
                WHERE command.key = new.key
                """
            case .removeCommands:
                "DELETE FROM route_worker_command WHERE key = ANY ($1::bytea[])"
            case .leaveMarks:
                """
                INSERT INTO route_worker_mark AS mark (key, issued_at, keep_until)
                SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[])
                ON CONFLICT (key) DO UPDATE SET issued_at = greatest(mark.issued_at, excluded.issued_at),
                    keep_until = greatest(mark.keep_until, excluded.keep_until)
                """
            case .removeMarks:
                "DELETE FROM route_worker_mark WHERE key = ANY ($1::bytea[])"
            case .searchCommands:
                """
                SELECT key, history FROM route_worker_command WHERE key > $1::bytea AND key < $2::bytea
                ORDER BY key LIMIT $3::bigint
                """
            // Commands first, then marks with what is left of the limit. What somebody works on is left for the next
            // purge: a purge waits for nobody.
            case .purge:
                """
                WITH due AS (
                    SELECT key, keep_until FROM route_worker_command WHERE look_at <= $1::bigint
                    ORDER BY look_at LIMIT $2::bigint FOR UPDATE SKIP LOCKED
                ), gone AS (
                    DELETE FROM route_worker_command AS command USING due
                    WHERE command.key = due.key AND due.keep_until <= $1::bigint RETURNING 1
                ), later AS (
                    UPDATE route_worker_command AS command SET look_at = due.keep_until FROM due
                    WHERE command.key = due.key AND due.keep_until > $1::bigint
                ), due_mark AS (
                    SELECT key FROM route_worker_mark WHERE keep_until <= $1::bigint
                    ORDER BY keep_until LIMIT $2::bigint - (SELECT count(*) FROM due) FOR UPDATE SKIP LOCKED
                ), gone_mark AS (
                    DELETE FROM route_worker_mark AS mark USING due_mark WHERE mark.key = due_mark.key RETURNING 1
                )
                SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM gone_mark),
                    (SELECT count(*) FROM due) + (SELECT count(*) FROM due_mark)
                """
            }
        }
    }
}
