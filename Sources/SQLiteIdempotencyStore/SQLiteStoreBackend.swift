// The embedded store: one SQLite file, shared by the worker processes of one host.

import Dispatch
import GRDB
public import IdempotencyStore
import RoutingContract

/// Keeps commands in a SQLite database, durably: a batch is one transaction, on disk (`synchronous=FULL` in WAL mode)
/// before its callers hear of it. A power cut loses nothing that was answered, as far as the disk tells the truth.
///
/// Several processes of **one host** may share the file; it must not lie on a network file system, where neither locks
/// nor WAL work. Not safe against restoring an older copy of the file: what was recorded since is forgotten.
public final class SQLiteStoreBackend: StoreBackend {
    let database: DatabaseQueue
    let checkpoints: Checkpoints
    private let retention: Retention
    private let clock: StoreClock

    /// Opens the database and creates what is missing in it; any number of processes may do so at the same time.
    ///
    /// Blocks for as long as the disk takes and other processes hold the database, up to `busyTimeout` for each step, so
    /// call it before the event loops carry traffic.
    ///
    /// - Parameters:
    ///   - path: of the database; a new one gets the permissions 0600. Its folder must exist.
    ///   - busyTimeout: how long to wait for other processes' transactions; keep it below
    ///     ``BatchSettings/timeLimit``.
    public init(
        path: String, retention: Retention = Retention(), clock: StoreClock = .system,
        busyTimeout: Duration = .seconds(3)
    ) throws(StoreError) {
        (database, checkpoints) = try SQLiteOpening.database(at: path, busyTimeout: busyTimeout)
        self.retention = retention
        self.clock = clock
    }

    public func run(_ batch: [StoreOperation]) async throws(StoreError) -> [StoreReply] {
        let result: Result<[StoreReply], StoreError> = await withCheckedContinuation { continuation in
            // Not GRDB's async `write`: that one gives up when the calling task is cancelled.
            database.asyncWriteWithoutTransaction { database in
                continuation.resume(returning: self.runInTransaction(batch, in: database))
                self.checkpoints.batchEnded(database)
            }
        }
        return try result.get()
    }

    public func close() async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            // Elsewhere, since GRDB closes synchronously, and the last connection to close checkpoints the whole WAL.
            DispatchQueue.global().async {
                // A connection whose close fails is closed with the process; everything answered is on disk already.
                try? self.database.close()
                try? self.checkpoints.close()
                continuation.resume()
            }
        }
    }

    private func runInTransaction(_ batch: [StoreOperation], in database: Database) -> Result<[StoreReply], StoreError>
    {
        guard database.sqliteConnection != nil else { return .failure(.closed) }
        do {
            let statements = SQLiteStatements(database)
            // A rollback that failed after an earlier batch is made up for here.
            if database.isInsideTransaction { try statements.rollback() }
            do {
                try statements.begin()
                var transaction = SQLiteTransaction(
                    statements: statements, now: clock.now(), retention: retention)
                let replies = try batch.map { try transaction.perform($0) }
                try transaction.finish()
                try statements.commit()
                return .success(replies)
            } catch {
                // Some errors (disk full, I/O) have rolled back already; then there is nothing to do.
                if database.isInsideTransaction { try? statements.rollback() }
                throw error
            }
        } catch {
            return .failure(StoreError(sqlite: error))
        }
    }
}
