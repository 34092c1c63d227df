// Stores that can be filled by SQL, in their own format.

import Foundation
import GRDB
import IdempotencyStore
import PostgresIdempotencyStore
import RoutingContract
import SQLiteIdempotencyStore

/// A store, and the way around it.
protocol GrowthTarget {
    var store: any IdempotencyStore { get }
    /// Adds completed commands with random RequestIds.
    ///
    /// - Parameter isDue: whether their retention is over.
    func add(_ rows: Int, isDue: Bool) async throws
    func close() async
}

/// The row that is stored over and over under other RequestIds.
enum SeedRow {
    static let keyPrefix = "\(CommandLoad.org)r"

    static func times(isDue: Bool) -> (now: Timestamp, keepUntil: Timestamp) {
        let now = StoreClock.system.now()
        return (now, now + (isDue ? .seconds(-60) : .seconds(24 * 3600)))
    }

    static func record(keepUntil: Timestamp, at now: Timestamp) -> CommandRecord {
        let result = CommandResult(
            outcome: .succeeded, httpStatus: 202, response: StoreRun.response, attempts: 1, receivedAt: now,
            completedAt: now, worker: "seed")
        return CommandRecord(
            fingerprint: Fingerprint(bytes: Array(repeating: 7, count: 32)),
            state: .completed(CommandRecord.Ending(result: result, replay: 0)), token: 1, attempts: 1,
            mayHaveTakenEffect: false, replay: 0, nonce: 1, worker: "seed", keepUntil: keepUntil)
    }
}

struct SQLiteGrowth: GrowthTarget {
    let store: any IdempotencyStore
    private let path: String

    init(path: String) throws {
        self.path = path
        store = BatchingIdempotencyStore(try SQLiteStoreBackend(path: path))
    }

    func add(_ rows: Int, isDue: Bool) async throws {
        let (now, keepUntil) = SeedRow.times(isDue: isDue)
        guard case .completed(let ending) = SeedRow.record(keepUntil: keepUntil, at: now).state else { return }
        let queue = try DatabaseQueue(path: path)
        defer { try? queue.close() }
        try await queue.writeWithoutTransaction { database in
            try database.execute(sql: "PRAGMA cache_size = -400000; PRAGMA temp_store = FILE")
            // Many rows come faster without the index of random keys, which is built anew behind them.
            let isLarge = rows > 200_000
            if isLarge { try database.execute(sql: "DROP INDEX command_key") }
            try database.execute(
                sql: """
                    INSERT INTO command (key, fingerprint, state, token, attempts, uncertain, replay, nonce, worker,
                        result, result_replay, changed_at, keep_until, look_at)
                    WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
                    SELECT CAST(? || randomblob(16) AS BLOB), randomblob(32), 3, n, 1, 0, 0, n, 'seed', ?, 0, ?, ?, ?
                    FROM number
                    """,
                arguments: [
                    rows, SeedRow.keyPrefix, Data(ResultCodec.encode(ending.result)), now.milliseconds,
                    keepUntil.milliseconds, keepUntil.milliseconds,
                ])
            if isLarge { try database.execute(sql: "CREATE UNIQUE INDEX command_key ON command (key)") }
            try database.execute(sql: "PRAGMA wal_checkpoint(TRUNCATE)")
        }
    }

    func close() async { await store.close() }
}

struct PostgresGrowth: GrowthTarget {
    let store: any IdempotencyStore
    private let url: String

    init(_ servers: Servers) throws {
        guard let url = servers.postgresURL else { throw BenchFailure("POSTGRES_URL is not set") }
        self.url = url
        store = BatchingIdempotencyStore(PostgresStoreBackend(target: try PostgresTarget(url: url)))
    }

    func add(_ rows: Int, isDue: Bool) async throws {
        // The first use creates the tables.
        _ = try await store.purge(limit: 1)
        let (now, keepUntil) = SeedRow.times(isDue: isDue)
        let record = RecordCodec.encode(SeedRow.record(keepUntil: keepUntil, at: now))
        let hex = record.map { String(format: "%02x", $0) }.joined()
        try Psql.run(
            """
            INSERT INTO route_worker_command (key, record, keep_until, look_at)
            SELECT convert_to('\(SeedRow.keyPrefix)', 'UTF8') || uuid_send(gen_random_uuid()), '\\x\(hex)',
                \(keepUntil.milliseconds), \(keepUntil.milliseconds)
            FROM generate_series(1, \(rows))
            """, at: url)
        // As autovacuum would in time.
        if !isDue { try Psql.run("VACUUM ANALYZE route_worker_command", at: url) }
    }

    func close() async { await store.close() }
}
