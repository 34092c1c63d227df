// The durable store for many hosts: PostgreSQL.

public import IdempotencyStore
import RoutingContract

/// Keeps commands in PostgreSQL 12 or later. A batch is one transaction in two round trips (pipeline mode): read and lock
/// all that it concerns, decide in the worker, write and commit. Leases are judged by the server's `clock_timestamp()`.
///
/// **What it promises:** what was answered is committed with `synchronous_commit` at least `on`, so a server that crashes
/// loses nothing of it, as far as its disk tells the truth and `fsync` is on. When a standby takes over, what it had not
/// received is forgotten and **such a RequestId may be called again**, unless the server replicates synchronously
/// (`synchronous_standby_names`). Not safe against restoring a backup.
///
/// The tables (`route_worker_…`) are made in the first schema of the search path with the first batch, by whichever worker
/// comes first; `options=-csearch_path%3DNAME` in the URI chooses another schema. Statements are prepared, so a pooler in
/// between must keep a worker on one connection of the server's (PgBouncer: session pooling, or 1.21 and later).
public final class PostgresStoreBackend: StoreBackend {
    private let thread: StoreThread<PostgresSession>

    /// Connects with the first batch, and again whenever the connection is lost.
    ///
    /// - Parameters:
    ///   - clock: `nil` is the server's own.
    ///   - timeLimit: for one batch, connecting included (looking up a host's name takes as long as the resolver
    ///     allows). Not above ``BatchSettings/timeLimit``, so that callers learn why. The server ends statements and
    ///     transactions of this store that last longer.
    public init(
        target: PostgresTarget, retention: Retention = Retention(), clock: StoreClock? = nil,
        timeLimit: Duration = .seconds(4)
    ) {
        thread = StoreThread(name: "store-postgres") {
            PostgresSession(target: target, retention: retention, clock: clock, timeLimit: timeLimit)
        }
    }

    public func run(_ batch: [StoreOperation]) async throws(StoreError) -> [StoreReply] {
        let result = await thread.run { session -> Result<[StoreReply], StoreError> in
            do throws(StoreError) {
                return .success(try session.run(batch))
            } catch {
                return .failure(error)
            }
        }
        guard let result else { throw .closed }
        return try result.get()
    }

    public func close() async {
        _ = await thread.run { $0.close() }
        thread.stop()
    }
}
