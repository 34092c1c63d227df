// The fast store for many hosts: Redis or Valkey.

public import IdempotencyStore
public import NIOCore
import NIOPosix

/// Keeps commands in Redis 6.2 or later, or Valkey. A batch takes two round trips: read all that it concerns, decide in
/// the worker, then one script that compares and writes all of it or nothing; who was overtaken begins again. Leases are
/// judged by the server's clock.
///
/// **What it promises depends on how the server keeps its data.** With `appendonly yes` and `appendfsync always` nothing
/// that was answered is lost in a crash. With `appendfsync everysec`, Redis' usual setting, a server that loses its last
/// second forgets the claims and results of that second: **such a RequestId may be called again**, and a result that was
/// already announced may be followed by another one. The same holds when a replica takes over that had not received
/// everything (replication is asynchronous; this store does not `WAIT`, which narrows that gap but does not close it).
/// Without `appendonly` or snapshots a restart forgets everything. Where a second call is worse than a slower worker, use
/// `appendfsync always` or PostgreSQL.
///
/// Set `maxmemory-policy noeviction`: any `allkeys-…` policy forgets commands in silence. No key has an expiry, so that
/// `volatile-…` policies leave them alone; what is over goes with ``IdempotencyStore/purge(limit:)``. Redis Cluster is
/// not supported. Over TLS (`rediss://`) the server must not ask for a client's certificate (`tls-auth-clients no`).
public final class RedisStoreBackend: StoreBackend {
    private let session: RedisSession

    /// Connects with the first batch, and again whenever the connection is lost.
    ///
    /// - Parameters:
    ///   - namespace: what the names of all keys start with; workers share a store by sharing it.
    ///   - clock: `nil` is the server's own.
    ///   - timeLimit: for one batch, connecting included. Not above ``BatchSettings/timeLimit``, so that callers learn
    ///     why.
    ///   - loop: where its connection lives; best the callers' own. `nil` is one that the process shares.
    public init(
        target: RedisTarget, namespace: String = "route-worker", retention: Retention = Retention(),
        clock: StoreClock? = nil, timeLimit: Duration = .seconds(4), loop: (any EventLoop)? = nil
    ) {
        session = RedisSession(
            target: target, namespace: namespace, retention: retention, clock: clock, timeLimit: timeLimit,
            loop: loop ?? MultiThreadedEventLoopGroup.singleton.any())
    }

    public func run(_ batch: [StoreOperation]) async throws(StoreError) -> [StoreReply] {
        try await session.run(batch)
    }

    public func close() async { await session.close() }
}
