// A fleet is upgraded worker by worker: what the version before wrote is read, and it reads what this one writes. What it
// did stands here in its own words, never to be changed with the code.

import Foundation
import GRDB
import IdempotencyStore
import PostgresIdempotencyStore
import RoutingContract
import TestSupport
import Testing

@testable import RedisIdempotencyStore
@testable import SQLiteIdempotencyStore

/// The tables and statements of the version without a history.
private enum VersionBefore {
    static let sqlite = """
        CREATE TABLE command (
            id INTEGER PRIMARY KEY, key BLOB NOT NULL, fingerprint BLOB NOT NULL, state INTEGER NOT NULL,
            until INTEGER, token INTEGER NOT NULL, attempts INTEGER NOT NULL, uncertain INTEGER NOT NULL,
            replay INTEGER NOT NULL, nonce INTEGER, worker TEXT NOT NULL, result BLOB, result_replay INTEGER,
            changed_at INTEGER NOT NULL, keep_until INTEGER NOT NULL, look_at INTEGER NOT NULL
        );
        CREATE UNIQUE INDEX command_key ON command (key);
        CREATE INDEX command_look_at ON command (look_at);
        CREATE TABLE delete_mark (
            id INTEGER PRIMARY KEY, key BLOB NOT NULL, issued_at INTEGER NOT NULL, keep_until INTEGER NOT NULL
        );
        CREATE UNIQUE INDEX delete_mark_key ON delete_mark (key);
        CREATE INDEX delete_mark_keep_until ON delete_mark (keep_until);
        CREATE TABLE fencing_token (last INTEGER NOT NULL);
        INSERT INTO fencing_token (last) VALUES (7);
        PRAGMA application_id = 1381462900;
        PRAGMA user_version = 1;
        """
    static let sqliteInsert = """
        INSERT INTO command (state, until, token, attempts, uncertain, replay, nonce, worker, keep_until,
            result, result_replay, changed_at, key, fingerprint, look_at)
            VALUES (3, NULL, 7, 1, 0, 0, NULL, 'old', ?, ?, 0, 1, ?, ?, ?)
        """
    static let sqliteUpdate = """
        UPDATE command SET state = 3, until = NULL, token = 8, attempts = 2, uncertain = 0, replay = 0,
            nonce = NULL, worker = 'old', keep_until = ?, result = ?, result_replay = 0, changed_at = 1
            WHERE key = ?
        """
    static let sqliteFind = """
        SELECT state, until, token, attempts, uncertain, replay, nonce, worker, keep_until, result,
            result_replay, fingerprint, id FROM command WHERE key = ?
        """

    static let postgres = """
        CREATE TABLE route_worker_schema (version integer NOT NULL, oldest_reader integer NOT NULL);
        INSERT INTO route_worker_schema VALUES (1, 1);
        CREATE TABLE route_worker_command (
            key bytea PRIMARY KEY, record bytea NOT NULL, keep_until bigint NOT NULL, look_at bigint NOT NULL
        ) WITH (fillfactor = 60);
        CREATE INDEX route_worker_command_look_at ON route_worker_command (look_at);
        CREATE TABLE route_worker_mark (key bytea PRIMARY KEY, issued_at bigint NOT NULL, keep_until bigint NOT NULL);
        CREATE INDEX route_worker_mark_keep_until ON route_worker_mark (keep_until);
        CREATE SEQUENCE route_worker_token INCREMENT BY 65536;
        """

    static func record(_ result: CommandResult, fingerprint: Fingerprint) -> CommandRecord {
        CommandRecord(
            fingerprint: fingerprint, state: .completed(.init(result: result, replay: 0)), token: 7, attempts: 1,
            mayHaveTakenEffect: false, replay: 0, nonce: nil, worker: "old", keepUntil: start + .seconds(1_000_000))
    }
}

extension [UInt8] {
    fileprivate var hex: String { map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
}

@Suite struct UpgradeTests {
    private let old = VersionBefore.record(result(.succeeded), fingerprint: fingerprint(0))

    /// What the version before wrote is answered, gets a history from now on, and takes new commands beside it.
    private func goesOn(_ store: any InspectedStore) async throws {
        #expect(try await store.find(key(1)) == old)
        #expect(try await store.claim(request(key(1))) == .completed(result(.succeeded), replay: 0))
        let entries = try #require(try await store.find(key(1))?.history.entries)
        guard entries.count == 1, case .seenAgain(let again) = entries[0].event else {
            Issue.record("\(entries)")
            return
        }
        #expect(again.kind == .duplicate && again.worker == "worker-1")
        let claim = try #require(try await store.claim(request(key(2))).acquired)
        #expect(claim.token > 7)
        #expect(try await store.record(result(.succeeded, attempts: 2), for: claim) == .held)
        #expect(try await store.find(key(2))?.history.entries?.count == 2)
    }

    @Test func sqliteGainsAColumnThatTheVersionBeforeDoesNotNotice() async throws {
        let folder = try TemporaryFolder()
        let path = folder.file("store.sqlite")
        let before = try DatabaseQueue(path: path)
        let keepUntil = old.keepUntil.milliseconds
        try await before.write { [old] database in
            try database.execute(sql: VersionBefore.sqlite)
            guard case .completed(let ending) = old.state else { return }
            try database.execute(
                sql: VersionBefore.sqliteInsert,
                arguments: [
                    keepUntil, Data(ResultCodec.encode(ending.result)), Data(KeyBytes(key(1)).bytes),
                    Data(old.fingerprint.bytes), keepUntil,
                ])
        }
        let backends = try await withThrowingTaskGroup(of: SQLiteStoreBackend.self) { group in
            for _ in 0..<4 {
                group.addTask { try SQLiteStoreBackend(path: path, clock: HandClock().storeClock) }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let store = BatchingIdempotencyStore(backends[0])
        try await goesOn(store)

        // The connection of the version before was open all the time.
        let found = try await before.read { database in
            try Row.fetchOne(database, sql: VersionBefore.sqliteFind, arguments: [Data(KeyBytes(key(2)).bytes)])
        }
        let row = try #require(found)
        #expect(row["state"] == 3 && row["worker"] == "worker-1")
        // It refuses a later one than its own.
        let version = try await before.read { database in
            try Int.fetchOne(database, sql: "SELECT user_version FROM pragma_user_version")
        }
        #expect(version == 1)
        #expect(try ResultCodec.decode(Array(row["result"] as Data)) == result(.succeeded, attempts: 2))
        try await before.write { database in
            let other = Data(ResultCodec.encode(result(.rejected, attempts: 5)))
            try database.execute(
                sql: VersionBefore.sqliteUpdate, arguments: [keepUntil, other, Data(KeyBytes(key(2)).bytes)])
        }
        #expect(try await store.claim(request(key(2))) == .completed(result(.rejected, attempts: 5), replay: 0))
        #expect(try await store.find(key(2))?.history.entries?.count == 3)
        for backend in backends { await backend.close() }
    }

    @Test func postgresGainsAColumnThatTheVersionBeforeDoesNotNotice() async throws {
        let schema = uniqueName("upgrade").replacing("-", with: "_")
        let server = try TestDatabase.postgres.url
        let bytes = RecordCodec.encode(old).hex
        let oldKey = KeyBytes(key(1)).bytes.hex
        try await psql(
            server,
            """
            CREATE SCHEMA \(schema); SET search_path = \(schema); \(VersionBefore.postgres)
            INSERT INTO route_worker_command VALUES
                ('\\x\(oldKey)', '\\x\(bytes)', \(old.keepUntil.milliseconds), \(old.keepUntil.milliseconds));
            SELECT setval('route_worker_token', 7);
            """)
        let target = try PostgresTarget(url: server + "?options=-csearch_path%3D\(schema)")
        let stores = (0..<4).map { _ in
            BatchingIdempotencyStore(PostgresStoreBackend(target: target, clock: HandClock().storeClock))
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for store in stores { group.addTask { _ = try await store.find(key(9)) } }
            try await group.waitForAll()
        }
        try await goesOn(stores[0])
        // What the version before asks before it works.
        #expect(
            try await psql(server, "SELECT version, oldest_reader FROM \(schema).route_worker_schema")
                .trimmingCharacters(in: .whitespacesAndNewlines) == "2|1")

        // Its insert and its update, by name of column.
        let newKey = KeyBytes(key(2)).bytes.hex
        let hex = try await psql(
            server, "SELECT encode(record, 'hex') FROM \(schema).route_worker_command WHERE key = '\\x\(newKey)'")
        #expect(hex.contains(RecordCodec.encode(try #require(try await stores[0].find(key(2)))).hex))
        try await psql(
            server,
            """
            SET search_path = \(schema);
            UPDATE route_worker_command AS command SET record = new.record, keep_until = new.keep_until,
                look_at = coalesce(new.look_at, command.look_at)
            FROM unnest(ARRAY['\\x\(newKey)'::bytea], ARRAY['\\x\(bytes)'::bytea], ARRAY[1::bigint],
                ARRAY[NULL::bigint]) AS new (key, record, keep_until, look_at) WHERE command.key = new.key;
            INSERT INTO route_worker_command (key, record, keep_until, look_at)
            SELECT * FROM unnest(ARRAY['\\x\(KeyBytes(key(3)).bytes.hex)'::bytea], ARRAY['\\x\(bytes)'::bytea],
                ARRAY[1::bigint], ARRAY[1::bigint]);
            """)
        #expect(try await stores[1].find(key(2))?.worker == "old")
        #expect(try await stores[1].find(key(2))?.history.entries?.count == 2)
        #expect(try await stores[1].find(key(3)) == old)
        for store in stores { await store.close() }
    }

    @Test func redisPutsTheHistoryWhereTheVersionBeforeDoesNotLook() async throws {
        let before = Array("\(old.keepUntil.milliseconds);".utf8) + RecordCodec.encode(old)
        #expect(RedisValues.command(before).record == old)

        var record = old
        for replay in 0..<200 {
            record.history = CommandHistory(bytes: record.history.bytes + [UInt8(replay)])
            var value: [UInt8] = []
            RedisValues.encode(record, to: &value)
            #expect(RedisValues.command(value).record == record)
            // How it read a value: the record behind the first `;`, and for the purge the digits in front.
            let end = try #require(value.firstIndex(of: UInt8(ascii: ";")))
            var seen = try RecordCodec.decode(value[(end + 1)...])
            seen.history = record.history
            #expect(seen == record)
            let digits = value.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
            #expect(String(decoding: digits, as: UTF8.self) == String(record.keepUntil.milliseconds))
        }
    }

    @Test func redisGoesOnFromWhatTheVersionBeforeWrote() async throws {
        let place = try await ServerPlace.shared(.redis)
        let value = Array("\(old.keepUntil.milliseconds);".utf8) + RecordCodec.encode(old)
        let key = Array("\(place.namespace):c:".utf8) + KeyBytes(key(1)).bytes
        try await redisCLI(
            place.url, "EVAL",
            """
            local function bytes(hex) return (hex:gsub('..', function(pair) return string.char(tonumber(pair, 16)) end)) end
            redis.call('SET', bytes(ARGV[1]), bytes(ARGV[2]))
            return redis.call('SET', KEYS[1], 7)
            """, "1", "\(place.namespace):token", key.hex, value.hex)
        let store = try place.store(clock: HandClock().storeClock)
        try await goesOn(store)
        await store.close()
    }
}
