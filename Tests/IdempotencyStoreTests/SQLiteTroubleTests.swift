// What a SQLite store says when its file is full, damaged, foreign or out of reach, and how it goes on.

import Foundation
import GRDB
import IdempotencyStore
import RoutingContract
import Testing

@testable import SQLiteIdempotencyStore

@Suite struct SQLiteTroubleTests {
    private let folder: TemporaryFolder
    private let path: String

    init() throws {
        folder = try TemporaryFolder()
        path = folder.file("store.sqlite")
    }

    private func refusal(_ path: String) throws -> String {
        do {
            _ = try SQLiteStoreBackend(path: path, busyTimeout: .milliseconds(50))
            return "not refused"
        } catch .unusable(let why) {
            return why
        }
    }

    @Test func aFullDatabaseTakesNothingNewAndKeepsWhatItHas() async throws {
        let backend = try SQLiteStoreBackend(path: path)
        let store = BatchingIdempotencyStore(backend)
        let first = try #require(try await store.claim(request(key(0))).acquired)
        try await backend.database.writeWithoutTransaction { database in
            let pages = try Int.fetchOne(database, sql: "PRAGMA page_count") ?? 0
            _ = try Int.fetchOne(database, sql: "PRAGMA max_page_count = \(pages + 2)")
        }
        var acquired: [UInt8] = []
        var refusal: StoreError?
        for number in UInt8(1)..<255 {
            do throws(StoreError) {
                _ = try await store.claim(request(key(number)))
                acquired.append(number)
            } catch {
                refusal = error
                break
            }
        }
        guard case .full(let why) = refusal else {
            Issue.record("expected full, not \(String(describing: refusal))")
            return
        }
        #expect(why.contains("free space"))
        try await backend.database.writeWithoutTransaction { database in
            _ = try Int.fetchOne(database, sql: "PRAGMA max_page_count = 100000")
        }
        #expect(try await store.record(result(.succeeded), for: first) == .held)
        for number in acquired {
            guard case .inProgress = try await store.claim(request(key(number))) else {
                Issue.record("command \(number) was lost")
                return
            }
        }
        #expect(try await store.claim(request(key(254))).acquired != nil)
        await store.close()
    }

    @Test func aNewerSchemaIsRefusedAndLeftAlone() async throws {
        await (try SQLiteStoreBackend(path: path)).close()
        let database = try DatabaseQueue(path: path)
        try await database.write { try $0.execute(sql: "PRAGMA user_version = 2") }
        let why = try refusal(path)
        #expect(why.contains("version 2") && why.contains("newer worker") && why.contains(path))
        #expect(try await database.read { try Int.fetchOne($0, sql: "PRAGMA user_version") } == 2)
    }

    @Test func aForeignDatabaseIsRefusedAndLeftAlone() async throws {
        let database = try DatabaseQueue(path: path)
        try await database.write { try $0.execute(sql: "CREATE TABLE theirs (id INTEGER)") }
        #expect(try refusal(path).contains("another application"))
        let mode = try await database.read { try String.fetchOne($0, sql: "PRAGMA journal_mode") }
        #expect(mode == "delete")
        #expect(try await database.read { try $0.tableExists("theirs") && !$0.tableExists("command") })
    }

    @Test func aFileThatIsNoDatabaseIsRefusedAndLeftAlone() throws {
        let text = Data("not a database, but long enough to be looked at as one\n".utf8)
        try text.write(to: URL(fileURLWithPath: path))
        #expect(try refusal(path).contains("no SQLite database"))
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == text)
    }

    @Test func aDamagedDatabaseIsUnusable() async throws {
        let first = BatchingIdempotencyStore(try SQLiteStoreBackend(path: path))
        for number in UInt8(0)..<100 { _ = try await first.claim(request(key(number))) }
        await first.close()
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        let size = try file.seekToEnd()
        try file.seek(toOffset: 4096)
        try file.write(contentsOf: Data(repeating: 0xA5, count: Int(size) - 4096))
        try file.close()

        let backend = try SQLiteStoreBackend(path: path)
        do {
            _ = try await backend.run([.claim(request(key(1)))])
            Issue.record("expected an error")
        } catch {
            guard case .unusable(let why) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(why.contains("damaged") && why.contains("-wal"))
        }
        await backend.close()
    }

    @Test func aMissingFolderIsNamed() throws {
        let why = try refusal(folder.file("missing/store.sqlite"))
        #expect(why.contains(folder.file("missing")) && why.contains("create it"))
    }

    @Test func whatIsNoFileIsRefused() throws {
        #expect(try refusal(folder.path).contains("must exist and be readable"))
        try Data().write(to: URL(fileURLWithPath: folder.file("plain")))
        #expect(try refusal(folder.file("plain/store.sqlite")).contains("not a folder"))
        #expect(try refusal("").contains("path of a file"))
        #expect(try refusal(":memory:").contains("path of a file"))
    }

    @Test func aDatabaseThatCannotBeWrittenIsUnusableUntilItCan() async throws {
        let backend = try SQLiteStoreBackend(path: path)
        try await backend.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA query_only = 1") }
        do {
            _ = try await backend.run([.claim(request(key(1)))])
            Issue.record("expected an error")
        } catch {
            guard case .unusable(let why) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(why.contains("let the worker's user write"))
        }
        try await backend.database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA query_only = 0") }
        #expect(try await backend.run([.claim(request(key(1)))]).count == 1)
        await backend.close()
    }

    @Test(arguments: [
        (ResultCode.SQLITE_FULL, "full"), (.SQLITE_BUSY, "unavailable"), (.SQLITE_BUSY_SNAPSHOT, "unavailable"),
        (.SQLITE_IOERR_FSYNC, "unavailable"), (.SQLITE_NOMEM, "unavailable"), (.SQLITE_CORRUPT, "unusable"),
        (.SQLITE_NOTADB, "unusable"), (.SQLITE_READONLY_DBMOVED, "unusable"), (.SQLITE_CANTOPEN, "unusable"),
        (.SQLITE_ERROR, "unusable"),
    ])
    func everyResultCodeSaysWhetherToTryAgain(_ code: ResultCode, _ kind: String) {
        let errors: [any Error] = [SQLiteFailure(code: code, message: "m"), DatabaseError(resultCode: code)]
        for error in errors {
            let isAsExpected =
                switch StoreError(sqlite: error) {
                case .full: kind == "full"
                case .unavailable: kind == "unavailable"
                case .unusable: kind == "unusable"
                case .closed: false
                }
            #expect(isAsExpected)
        }
    }
}
