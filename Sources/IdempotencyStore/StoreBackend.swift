// What a database must be able to do to become a store: run a batch of operations.

public import RoutingContract

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// A database behind ``BatchingIdempotencyStore``.
public protocol StoreBackend: Sendable {
    /// Runs the operations in their order as one unit, durably, and returns one reply for each, in the same order.
    ///
    /// Never called again before it has returned. An error stands for every operation of the batch, of which some, all
    /// or none may have happened; the backend stays usable after it. What concerns one operation alone is replied as
    /// ``StoreReply/failed(_:)``, and that operation changed nothing.
    func run(_ batch: [StoreOperation]) async throws(StoreError) -> [StoreReply]

    /// Lets go of the database. May be called more than once; a batch after it throws ``StoreError/closed``.
    func close() async
}

/// One thing asked of a backend.
public enum StoreOperation: Sendable, Hashable {
    case claim(ClaimRequest)
    case record(CommandResult, Claim)
    case release(Claim, Release)
    case mark(ClaimRequest)
    /// Tell what is remembered of a command.
    case find(CommandKey)
    /// Look at up to this many commands and marks whose time may be over, and remove those whose time is.
    case purge(limit: Int)
}

/// A backend's answer to one operation.
public enum StoreReply: Sendable, Hashable {
    case claim(ClaimResult)
    /// To a record or a release.
    case fencing(Fencing)
    case marked
    case found(CommandRecord?)
    /// How many were removed, and whether more may be due.
    case purged(Int, more: Bool)
    /// This operation failed, alone.
    case failed(StoreError)
}

/// How long commands are remembered, counted from their last change by the store's clock.
public struct Retention: Sendable, Hashable {
    /// Of succeeded and superseded commands, of deletes that found nothing, of released claims, and of deletes' marks.
    public var succeeded: Duration
    /// Of commands that have a dead letter, and of those of which a call may have taken effect. A claim is kept this long
    /// after its lease.
    public var failed: Duration

    public init(succeeded: Duration = .seconds(24 * 3600), failed: Duration = .seconds(14 * 24 * 3600)) {
        self.succeeded = succeeded
        self.failed = failed
    }
}

/// The clock by which a store judges leases and retention: wall time, since it must outlive the process.
///
/// Processes that share an embedded database share its host's clock. When that clock steps back, leases and retention
/// grow by the step; nothing is taken over or forgotten early.
public struct StoreClock: Sendable {
    public var now: @Sendable () -> Timestamp

    public init(now: @escaping @Sendable () -> Timestamp) {
        self.now = now
    }

    /// The host's wall clock.
    public static let system = StoreClock {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(milliseconds: Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000)
    }
}
