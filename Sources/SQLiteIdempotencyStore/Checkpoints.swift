// Copies the write-ahead log into the database beside the commits.

import GRDB
import GRDBSQLite
import Synchronization

/// Watches the commits of one connection, and owns another that copies what they logged.
final class Checkpoints: Sendable {
    private struct State {
        var plan: CheckpointPlan
        /// In the log after the last commit; `nil` once that was looked at.
        var pages: Int?
    }

    let copier: DatabaseQueue
    private let state: Mutex<State>

    /// - Parameter interval: pages in the log before they are copied.
    init(copier: DatabaseQueue, interval: Int) {
        self.copier = copier
        state = Mutex(State(plan: CheckpointPlan(interval: interval)))
    }

    /// Has SQLite tell of every commit, in place of copying the log by itself (sqlite.org/c3ref/wal_hook.html). This must
    /// outlive the connection.
    func watch(_ database: Database) {
        sqlite3_wal_hook(
            database.sqliteConnection,
            { context, _, _, pages in
                guard let context else { return SQLITE_OK }
                let checkpoints = Unmanaged<Checkpoints>.fromOpaque(context).takeUnretainedValue()
                checkpoints.state.withLock { $0.pages = Int(pages) }
                return SQLITE_OK
            }, Unmanaged.passUnretained(self).toOpaque())
    }

    /// What there is to do after a batch; on its connection, outside a transaction.
    func batchEnded(_ database: Database) {
        let step = state.withLock { state in
            guard let pages = state.pages.take() else { return CheckpointPlan.Step.none }
            return state.plan.committed(pages: pages)
        }
        // A checkpoint that fails has lost nothing: what is not copied stays in the log. A disk that is full or broken shows
        // with the next commit.
        switch step {
        case .none: break
        case .finish:
            let copied = try? database.checkpoint(.passive)
            let isComplete = copied.map { $0.walFrameCount == $0.checkpointedFrameCount } ?? false
            state.withLock { $0.plan.finished(isComplete: isComplete) }
        case .begin:
            copier.asyncWriteWithoutTransaction { database in
                _ = try? database.checkpoint(.passive)
                self.state.withLock { $0.plan.ended() }
            }
        }
    }

    /// Waits for a checkpoint that runs.
    func close() throws { try copier.close() }
}
