// Opening a database: the file and its permissions, the pragmas, the tables, whoever else opens it at the same time.

import Foundation
import GRDB
import IdempotencyStore
import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

enum SQLiteOpening {
    /// Stands in the file's header and tells ours from other databases: "RWst".
    static let applicationID: Int64 = 0x5257_7374
    /// Of the tables below, kept in `user_version`. A database of a later version is refused, so it grows only with a
    /// change that the version before cannot live with; a column more it does not notice.
    static let schemaVersion: Int64 = 1
    /// Pages of WAL before a checkpoint: 16 MB, four times SQLite's own, since every checkpoint costs more syncs.
    static let checkpointPages = 4000
    /// KiB of page cache. RequestIds are random, so every claim touches another page of their index: no cache holds an
    /// index of millions, but what a record needs again was read for its claim a moment ago, and stays in this.
    static let cacheKibibytes = 4096

    private static let schema = """
        CREATE TABLE command (
            id INTEGER PRIMARY KEY,
            key BLOB NOT NULL,
            fingerprint BLOB NOT NULL,
            state INTEGER NOT NULL,
            until INTEGER,
            token INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            uncertain INTEGER NOT NULL,
            replay INTEGER NOT NULL,
            nonce INTEGER,
            worker TEXT NOT NULL,
            result BLOB,
            result_replay INTEGER,
            changed_at INTEGER NOT NULL,
            keep_until INTEGER NOT NULL,
            look_at INTEGER NOT NULL,
            history BLOB
        );
        CREATE UNIQUE INDEX command_key ON command (key);
        CREATE INDEX command_look_at ON command (look_at);
        CREATE TABLE delete_mark (
            id INTEGER PRIMARY KEY,
            key BLOB NOT NULL,
            issued_at INTEGER NOT NULL,
            keep_until INTEGER NOT NULL
        );
        CREATE UNIQUE INDEX delete_mark_key ON delete_mark (key);
        CREATE INDEX delete_mark_keep_until ON delete_mark (keep_until);
        CREATE TABLE fencing_token (last INTEGER NOT NULL);
        INSERT INTO fencing_token (last) VALUES (0);
        PRAGMA application_id = \(applicationID);
        PRAGMA user_version = \(schemaVersion);
        """

    /// Opens one database at a time in this process. Closing any descriptor of a file drops all of the process's POSIX
    /// locks on it (sqlite.org/howtocorrupt.html §2.2), so none may be open in SQLite while the file is being created.
    private static let turn = Mutex(())

    static func database(
        at path: String, busyTimeout: Duration
    ) throws(StoreError) -> (DatabaseQueue, Checkpoints) {
        let result: Result<(DatabaseQueue, Checkpoints), StoreError> = turn.withLock { _ in
            do throws(StoreError) {
                try createFile(path)
                let database = try openDatabase(path, busyTimeout: busyTimeout)
                return .success((database, try checkpoints(of: database, at: path, busyTimeout: busyTimeout)))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    // MARK: The file

    private static func createFile(_ path: String) throws(StoreError) {
        guard !path.isEmpty, path != ":memory:" else {
            throw .unusable("the SQLite store needs the path of a file")
        }
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: folder, isDirectory: &isDirectory) else {
            throw .unusable("the folder \(folder) does not exist: create it (mkdir -p) for the worker's user")
        }
        guard isDirectory.boolValue else { throw .unusable("\(folder) is not a folder: name another path") }

        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            let reason = "cannot create \(path): \(String(cString: strerror(errno)))"
            switch errno {
            case EEXIST: return
            case ENOSPC, EDQUOT: throw .full("\(reason): free space on its disk")
            case EACCES, EPERM, EROFS: throw .unusable("\(reason): let the worker's user write to its folder")
            default: throw .unusable(reason)
            }
        }
        close(descriptor)
        // SQLite syncs the folder for the journals that it creates, not for the database itself.
        let folderDescriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folderDescriptor >= 0 else { return }
        fsync(folderDescriptor)
        close(folderDescriptor)
    }

    // MARK: The database

    private static func configuration(_ label: String, _ busyTimeout: Duration) -> Configuration {
        var configuration = Configuration()
        configuration.label = label
        configuration.busyMode = .timeout(TimeInterval(busyTimeout.wholeMilliseconds) / 1000)
        return configuration
    }

    /// Whoever calls this from several threads for one new file races as several processes do.
    static func openDatabase(_ path: String, busyTimeout: Duration) throws(StoreError) -> DatabaseQueue {
        var configuration = configuration("idempotency-store", busyTimeout)
        configuration.foreignKeysEnabled = false
        // A rollback can fail with the disk; the next batch makes up for it rather than the process ending.
        configuration.allowsUnsafeTransactions = true
        configuration.prepareDatabase { database in
            // Before anything is written: a foreign database stays untouched.
            _ = try needsSchema(database)
            let mode = try String.fetchOne(database, sql: "PRAGMA journal_mode = WAL")
            guard mode == "wal" else {
                throw StoreError.unusable(
                    "\(path) cannot use WAL; network file systems cannot: move it to a local disk")
            }
            try database.execute(
                sql: """
                    PRAGMA synchronous = FULL;
                    PRAGMA journal_size_limit = 67108864;
                    PRAGMA cache_size = -\(cacheKibibytes);
                    """)
        }
        // Turning a new database to WAL needs it alone for a moment, and SQLite answers busy at once where waiting
        // could deadlock; so several processes that start together take turns here.
        let deadline = ContinuousClock.now + busyTimeout
        while true {
            do {
                let queue = try DatabaseQueue(path: path, configuration: configuration)
                try queue.writeWithoutTransaction(createSchema)
                try queue.writeWithoutTransaction(addColumns)
                return queue
            } catch let error as DatabaseError where error.resultCode == .SQLITE_BUSY && ContinuousClock.now < deadline
            {
                Thread.sleep(forTimeInterval: 0.02)
            } catch {
                throw StoreError(sqlite: error).about(path)
            }
        }
    }

    private static func checkpoints(
        of database: DatabaseQueue, at path: String, busyTimeout: Duration
    ) throws(StoreError) -> Checkpoints {
        var configuration = configuration("idempotency-checkpoints", busyTimeout)
        // The log is written over once its pages are in the database, so these must be on the disk by then.
        configuration.prepareDatabase { try $0.execute(sql: "PRAGMA synchronous = FULL") }
        do {
            let checkpoints = Checkpoints(
                copier: try DatabaseQueue(path: path, configuration: configuration), interval: checkpointPages)
            try database.writeWithoutTransaction(checkpoints.watch)
            return checkpoints
        } catch {
            throw StoreError(sqlite: error).about(path)
        }
    }

    private static func createSchema(_ database: Database) throws {
        guard try needsSchema(database) else { return }
        try database.inTransaction(.immediate) {
            // Another process may have been first.
            if try needsSchema(database) { try database.execute(sql: schema) }
            return .commit
        }
    }

    /// What came after the first tables.
    private static func addColumns(_ database: Database) throws {
        guard try lacksHistory(database) else { return }
        try database.inTransaction(.immediate) {
            if try lacksHistory(database) { try database.execute(sql: "ALTER TABLE command ADD COLUMN history BLOB") }
            return .commit
        }
    }

    private static func lacksHistory(_ database: Database) throws -> Bool {
        try Int.fetchOne(
            database, sql: "SELECT count(*) FROM pragma_table_info('command') WHERE name = 'history'") == 0
    }

    /// Whether the database is empty.
    /// - Throws: ``StoreError/unusable(_:)`` for one that is not ours or of a later version.
    private static func needsSchema(_ database: Database) throws -> Bool {
        // In one statement, so of one state of the file: between two, another process may create the tables.
        let header = try Row.fetchOne(
            database,
            sql: """
                SELECT
                    (SELECT count(*) FROM sqlite_master),
                    (SELECT application_id FROM pragma_application_id),
                    (SELECT user_version FROM pragma_user_version)
                """)
        let tables: Int64 = header?[0] ?? 0
        let application: Int64 = header?[1] ?? 0
        let version: Int64 = header?[2] ?? 0
        if application == 0, version == 0, tables == 0 { return true }
        guard application == applicationID else {
            throw StoreError.unusable("the file belongs to another application: name another path")
        }
        guard version <= schemaVersion else {
            throw StoreError.unusable(
                "its tables have version \(version), this worker knows \(schemaVersion): run the newer worker, or name "
                    + "another path")
        }
        return false
    }
}

extension StoreError {
    /// Says which database an error is about.
    fileprivate func about(_ path: String) -> StoreError {
        switch self {
        case .unavailable(let why): .unavailable("\(path): \(why)")
        case .full(let why): .full("\(path): \(why)")
        case .unusable(let why): .unusable("\(path): \(why)")
        case .closed: .closed
        }
    }
}
