// What concerns SQLite alone: durability, other processes, and everything that can be wrong with a file.

import Foundation
import GRDB
import IdempotencyStore
import RoutingContract
import Synchronization
import Testing

@testable import SQLiteIdempotencyStore

@Suite struct SQLiteStoreTests {
    private let folder: TemporaryFolder
    private let path: String
    private let clock = HandClock()

    init() throws {
        folder = try TemporaryFolder()
        path = folder.file("store.sqlite")
    }

    private func backend(busyTimeout: Duration = .seconds(10)) throws -> SQLiteStoreBackend {
        try SQLiteStoreBackend(path: path, clock: clock.storeClock, busyTimeout: busyTimeout)
    }

    // MARK: Durability

    @Test func theDurabilityThatIsPromisedIsInForce() async throws {
        let backend = try backend()
        let pragmas = try await backend.database.read { database in
            try ["journal_mode", "synchronous", "wal_autocheckpoint", "busy_timeout", "application_id", "user_version"]
                .map { try String.fetchOne(database, sql: "PRAGMA \($0)") }
        }
        // synchronous: 2 is FULL (sqlite.org/pragma.html). No checkpoint comes by itself.
        #expect(pragmas == ["wal", "2", "0", "10000", "1381462900", "1"])
        // What is copied must be on disk before the log is written over.
        let copier = backend.checkpoints.copier
        #expect(try await copier.read { try String.fetchOne($0, sql: "PRAGMA synchronous") } == "2")
        await backend.close()
    }

    @Test func anotherConnectionSeesWhatWasAnswered() async throws {
        let backend = try backend()
        _ = try await backend.run([.claim(request(key(1)))])
        // Not closed: the WAL alone must hold it.
        let copy = folder.file("copy.sqlite")
        for suffix in ["", "-wal"] { try FileManager.default.copyItem(atPath: path + suffix, toPath: copy + suffix) }
        let other = try SQLiteStoreBackend(path: copy, clock: clock.storeClock)
        #expect(try await other.run([.claim(request(key(1)))]) == [.claim(.inProgress(.seconds(30)))])
        await other.close()
        await backend.close()
    }

    @Test func everythingSurvivesARestart() async throws {
        var store = BatchingIdempotencyStore(try backend())
        let done = try #require(try await store.claim(request(key(1))).acquired)
        _ = try await store.record(result(.rejected, reason: "queue-invalid"), for: done)
        let released = try #require(try await store.claim(request(key(2))).acquired)
        _ = try await store.release(released, as: .forRetry(attempts: 2, mayHaveTakenEffect: true))
        let held = try #require(try await store.claim(request(key(3), nonce: .max)).acquired)
        try await store.mark(request(key(4, .delete), issuedAt: start))
        await store.close()

        store = BatchingIdempotencyStore(try backend())
        #expect(
            try await store.claim(request(key(1))) == .completed(result(.rejected, reason: "queue-invalid"), replay: 0))
        let again = try #require(try await store.claim(request(key(2))).acquired)
        #expect(again.attempts == 2 && again.mayHaveTakenEffect && again.token > held.token)
        #expect(try await store.claim(request(key(3))) == .inProgress(.seconds(30)))
        #expect(try await store.claim(request(key(3), nonce: .max)).acquired != nil)
        guard case .superseded = try await store.claim(request(key(5), issuedAt: start + .seconds(-1))) else {
            Issue.record("expected superseded")
            return
        }
        await store.close()
    }

    /// Of two that commit all the time, each finds something left by the other when it has copied the log.
    @Test(arguments: [1, 2]) func theLogIsCopiedBesideTheCommitsAndBegunAgain(connections: Int) async throws {
        let backends = try (0..<connections).map { _ in try backend() }
        let longest = try await withThrowingTaskGroup(of: Int.self) { group in
            for (index, backend) in backends.enumerated() {
                group.addTask {
                    var longest = 0
                    for batch in 0..<400 {
                        let first = (index * 1000 + batch) * 64
                        _ = try await backend.run((0..<64).map { .claim(request(numbered(first + $0))) })
                        longest = max(longest, try size(of: path + "-wal"))
                    }
                    return longest
                }
            }
            return try await group.reduce(0) { max($0, $1) }
        }
        let page = 4096 + 24
        #expect(longest > 4000 * page, "nothing called for a checkpoint")
        // All that two commit comes to 65,000 pages; how many of them wait at a time is a matter of how soon the copier gets a
        // core.
        #expect(longest < 16_000 * connections * page, "the log only grew: \(longest) bytes")
        #expect(try size(of: path) > 4_000_000, "nothing was copied")
        for backend in backends { await backend.close() }
        let again = try self.backend()
        #expect(try await again.run([.claim(request(numbered(0)))]) == [.claim(.inProgress(.seconds(30)))])
        await again.close()
    }

    private func numbered(_ number: Int) -> CommandKey {
        let high = SIMD8<UInt8>(repeating: 7)
        // Spread over the index, as RequestIds are.
        let spread = UInt64(number) &* 0x9E37_79B9_7F4A_7C15
        let low = unsafeBitCast(spread, to: SIMD8<UInt8>.self)
        return CommandKey(org: someOrg, kind: .route, request: RequestID(bytes: SIMD16(lowHalf: low, highHalf: high)))
    }

    private func size(of path: String) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        return (attributes[.size] as? NSNumber)?.intValue ?? 0
    }

    @Test func onlyTheOwnerMayReadTheFiles() async throws {
        let backend = try backend()
        for suffix in ["", "-wal", "-shm"] {
            let attributes = try FileManager.default.attributesOfItem(atPath: path + suffix)
            #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600, "\(suffix)")
        }
        await backend.close()
    }

    @Test func permissionsOfAnExistingFileStay() async throws {
        await (try backend()).close()
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path)
        await (try backend()).close()
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o640)
    }

    // MARK: Several at once

    @Test func twoBackendsOnOneFileGiveEachCommandOnce() async throws {
        let stores = [
            BatchingIdempotencyStore(try backend()), BatchingIdempotencyStore(try backend()),
        ]
        let results = try await withThrowingTaskGroup(of: (UInt8, ClaimResult).self) { group in
            for number in UInt8(0)..<20 {
                for racer in 0..<16 {
                    group.addTask { (number, try await stores[racer % 2].claim(request(key(number)))) }
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        for number in UInt8(0)..<20 {
            #expect(results.count { $0.0 == number && $0.1.acquired != nil } == 1, "command \(number)")
        }
        #expect(Set(results.compactMap(\.1.acquired?.token)).count == 20)
        for store in stores { await store.close() }
    }

    @Test func severalMayOpenANewDatabaseAtTheSameTime() throws {
        let failures = Mutex<[String]>([])
        let path = path
        DispatchQueue.concurrentPerform(iterations: 8) { _ in
            do throws(StoreError) {
                let database = try SQLiteOpening.openDatabase(path, busyTimeout: .seconds(30))
                try? database.close()
            } catch {
                failures.withLock { $0.append("\(error)") }
            }
        }
        #expect(failures.withLock { $0 } == [])
        let database = try DatabaseQueue(path: path)
        #expect(try database.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM fencing_token") } == 1)
    }

    @Test func aLockHeldTooLongIsUnavailableAndPasses() async throws {
        let backend = try backend(busyTimeout: .milliseconds(20))
        let other = try DatabaseQueue(path: path, configuration: Self.unsafeConfiguration)
        try await other.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
        do {
            _ = try await backend.run([.claim(request(key(1)))])
            Issue.record("expected an error")
        } catch {
            guard case .unavailable = error else {
                Issue.record("\(error)")
                return
            }
        }
        try await other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
        let replies = try await backend.run([.claim(request(key(1)))])
        #expect(replies == [.claim(.acquired(Claim(key: key(1), token: 1)))])
        await backend.close()
    }

    private static var unsafeConfiguration: Configuration {
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        return configuration
    }

    // MARK: A batch

    @Test func aBatchIsOneTransaction() async throws {
        let backend = try backend()
        // The second operation meets a row that the trigger refuses: the first must not stay.
        try await backend.database.write { database in
            try database.execute(
                sql: """
                    CREATE TRIGGER refuse BEFORE INSERT ON command WHEN (SELECT count(*) FROM command) = 1
                    BEGIN SELECT RAISE(ABORT, 'refused'); END
                    """)
        }
        await #expect(throws: StoreError.self) {
            try await backend.run([.claim(request(key(1))), .claim(request(key(2)))])
        }
        try await backend.database.write { try $0.execute(sql: "DROP TRIGGER refuse") }
        #expect(
            try await backend.run([.claim(request(key(1)))]) == [.claim(.acquired(Claim(key: key(1), token: 1)))])
        await backend.close()
    }

    @Test func aRowThatCannotBeReadFailsItsOwnOperation() async throws {
        let store = BatchingIdempotencyStore(try backend())
        let reader = try DatabaseQueue(path: path)
        for number in UInt8(1)...3 {
            let claim = try #require(try await store.claim(request(key(number))).acquired)
            _ = try await store.record(result(.succeeded), for: claim)
        }
        try await reader.write { database in
            try database.execute(sql: "UPDATE command SET result = x'63' WHERE id = 1")
            try database.execute(sql: "UPDATE command SET state = 77 WHERE id = 2")
        }
        for number in UInt8(1)...2 {
            do {
                _ = try await store.claim(request(key(number)))
                Issue.record("expected an error")
            } catch {
                guard case .unusable = error else {
                    Issue.record("\(error)")
                    return
                }
            }
        }
        #expect(try await store.claim(request(key(3))) == .completed(result(.succeeded), replay: 0))
        await store.close()
    }

    @Test func aClosedBackendSaysSo() async throws {
        let backend = try backend()
        await backend.close()
        await backend.close()
        await #expect(throws: StoreError.closed) { try await backend.run([.purge(limit: 1)]) }
    }

    @Test func purgeAndClaimUseTheirIndices() async throws {
        let backend = try backend()
        let plans = try await backend.database.read { database in
            try SQLiteStatements.SQL.allCases.map { sql -> String in
                guard ![.begin, .commit, .rollback, .readToken, .writeToken].contains(sql) else { return "" }
                let rows = try Row.fetchAll(database, sql: "EXPLAIN QUERY PLAN " + sql.text, arguments: Self.nulls(sql))
                return rows.map { $0["detail"] as String }.joined(separator: "; ")
            }
        }
        for plan in plans { #expect(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "\(plan)") }
        #expect(plans.contains { $0.contains("command_key") })
        #expect(plans.contains { $0.contains("command_look_at") })
        await backend.close()
    }

    private static func nulls(_ sql: SQLiteStatements.SQL) -> StatementArguments {
        let count = (1...20).last { sql.text.contains("?\($0)") } ?? 0
        return StatementArguments([DatabaseValue](repeating: .null, count: count))
    }
}
