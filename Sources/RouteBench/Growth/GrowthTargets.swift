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
    /// Adds completed commands, as if they had come one after another until now.
    ///
    /// - Parameter isDue: whether their retention is over: then they came the day before.
    func add(_ rows: Int, isDue: Bool) async throws
    /// Ends with nothing left in the store.
    func close() async throws
}

/// The row that is stored over and over under other RequestIds.
enum SeedRow {
    static let keyPrefix = "\(CommandLoad.org)r"
    /// Between one and the next: ten million come in a day.
    static let milliseconds: Int64 = 8

    /// When the last of them came.
    static func last(isDue: Bool) -> Timestamp { StoreClock.system.now() + (isDue ? .seconds(-25 * 3600) : .zero) }

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
    private let ids: RequestIDKind

    init(path: String, ids: RequestIDKind) throws {
        self.path = path
        self.ids = ids
        store = BatchingIdempotencyStore(try SQLiteStoreBackend(path: path))
    }

    func add(_ rows: Int, isDue: Bool) async throws {
        let (now, keepUntil) = SeedRow.times(isDue: isDue)
        guard case .completed(let ending) = SeedRow.record(keepUntil: keepUntil, at: now).state else { return }
        let queue = try DatabaseQueue(path: path)
        defer { try? queue.close() }
        let (ids, last, seed) = (ids, SeedRow.last(isDue: isDue), UInt64.random(in: .min ... .max))
        let requestID = DatabaseFunction("request_id", argumentCount: 1) { values in
            guard let number = Int64.fromDatabaseValue(values[0]) else { return nil }
            let issuedAt = Timestamp(
                milliseconds: last.milliseconds - (Int64(rows) - number) * SeedRow.milliseconds)
            let id = ids.requestID(seed &+ UInt64(number), at: issuedAt)
            return withUnsafeBytes(of: id.bytes) { Data($0) }
        }
        try await queue.writeWithoutTransaction { database in
            database.add(function: requestID)
            try database.execute(sql: "PRAGMA cache_size = -400000; PRAGMA temp_store = FILE")
            // Many rows come faster without the index of keys, which is built anew behind them.
            let isLarge = rows > 200_000
            if isLarge { try database.execute(sql: "DROP INDEX command_key") }
            try database.execute(
                sql: """
                    INSERT INTO command (key, fingerprint, state, token, attempts, uncertain, replay, nonce, worker,
                        result, result_replay, changed_at, keep_until, look_at)
                    WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ?)
                    SELECT CAST(? || request_id(n) AS BLOB), randomblob(32), 3, n, 1, 0, 0, n, 'seed', ?, 0, ?, ?, ?
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

    func close() async throws {
        await store.close()
        try FileManager.default.removeItem(atPath: path)
    }
}

struct PostgresGrowth: GrowthTarget {
    let store: any IdempotencyStore
    private let url: String
    private let ids: RequestIDKind

    init(_ servers: Servers, ids: RequestIDKind) throws {
        guard let url = servers.postgresURL else { throw BenchFailure("POSTGRES_URL is not set") }
        self.url = url
        self.ids = ids
        store = BatchingIdempotencyStore(PostgresStoreBackend(target: try PostgresTarget(url: url)))
    }

    func add(_ rows: Int, isDue: Bool) async throws {
        // The first use creates the tables.
        _ = try await store.purge(limit: 1)
        let (now, keepUntil) = SeedRow.times(isDue: isDue)
        let record = RecordCodec.encode(SeedRow.record(keepUntil: keepUntil, at: now))
        let hex = record.map { String(format: "%02x", $0) }.joined()
        let random = "uuid_send(gen_random_uuid())"
        let issuedAt =
            "\(SeedRow.last(isDue: isDue).milliseconds) - (\(rows) - number) * \(SeedRow.milliseconds)"
        let requestID =
            switch ids {
            case .random: random
            // The version behind the time makes no difference to an index.
            case .time: "decode(lpad(to_hex(\(issuedAt)), 12, '0'), 'hex') || substring(\(random) FROM 7)"
            }
        try Psql.run(
            """
            INSERT INTO route_worker_command (key, record, keep_until, look_at)
            SELECT convert_to('\(SeedRow.keyPrefix)', 'UTF8') || \(requestID), '\\x\(hex)',
                \(keepUntil.milliseconds), \(keepUntil.milliseconds)
            FROM generate_series(1, \(rows)) AS number
            """, at: url)
        // As autovacuum would in time.
        if !isDue { try Psql.run("VACUUM ANALYZE route_worker_command", at: url) }
    }

    func close() async throws {
        await store.close()
        try Psql.run("TRUNCATE route_worker_command", at: url)
    }
}
