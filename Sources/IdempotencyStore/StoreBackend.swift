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
    /// Look through an org's commands for those of a conversation.
    case search(ConversationSearch)
    /// Remove what a command holds of a person, if it is of this conversation.
    case forget(CommandKey, ConversationTag)
    /// Remove the mark of a conversation.
    case forgetMark(ConversationKey)
    /// Look at up to this many commands and marks whose time may be over, and remove those whose time is.
    case purge(limit: Int)
}

/// A backend's answer to one operation.
public enum StoreReply: Sendable, Hashable {
    case claim(ClaimResult)
    /// To a record or a release.
    case fencing(Fencing)
    case marked
    /// Apart, so that the usual reply stays small.
    indirect case found(CommandRecord?)
    case searched(SearchStep)
    /// To `forget` and `forgetMark`.
    case forgot(Forgetting)
    /// How many were removed, and whether more may be due.
    case purged(Int, more: Bool)
    /// This operation failed, alone.
    case failed(StoreError)
}

/// One step of a walk through an org's commands.
public struct ConversationSearch: Sendable, Hashable {
    public var org: OrgID
    public var tag: ConversationTag
    /// ``SearchStep/next`` of the step before; empty for the first.
    public var after: [UInt8]
    /// How many commands to look at, about.
    public var limit: Int

    public init(org: OrgID, tag: ConversationTag, after: [UInt8] = [], limit: Int) {
        self.org = org
        self.tag = tag
        self.after = after
        self.limit = limit
    }

    /// The keys of the org's commands that are still to be looked at lie between these two, for databases that sort them.
    public var bounds: (after: [UInt8], before: [UInt8]) {
        let org = Array(org.description.utf8)
        return (after.isEmpty ? org : after, org + [0xFF])
    }
}

/// What a step found.
public struct SearchStep: Sendable, Hashable {
    /// Those of the conversation; one may be told twice.
    public var commands: [CommandKey]
    /// How many were looked at.
    public var seen: Int
    /// Where to go on, in words of the backend's own; `nil` at the end.
    public var next: [UInt8]?

    public init(commands: [CommandKey] = [], seen: Int = 0, next: [UInt8]? = nil) {
        self.commands = commands
        self.seen = seen
        self.next = next
    }
}

/// What became of a wish to forget.
public enum Forgetting: Sendable, Hashable {
    case forgotten
    /// There is nothing, or nothing of this conversation.
    case nothing
    /// Somebody may be calling for it, and will record what comes back: ask again after its end.
    case underWay
}

/// How long commands are remembered, counted from their last change by the store's clock.
public struct Retention: Sendable, Hashable {
    /// Of succeeded and superseded commands, of deletes that found nothing, of released claims, and of deletes' marks.
    public var succeeded: Duration
    /// Of commands that have a dead letter, and of those of which a call may have taken effect. A claim is kept this long
    /// after its lease.
    public var failed: Duration

    /// - Parameter futureTolerance: how far ahead of its receipt a command may say that it was issued. It is remembered for
    ///   so much longer: until its age, counted from then, tells that a duplicate of it is too old.
    public init(
        succeeded: Duration = .seconds(24 * 3600), failed: Duration = .seconds(14 * 24 * 3600),
        futureTolerance: Duration = .zero
    ) {
        self.succeeded = succeeded + futureTolerance
        self.failed = failed + futureTolerance
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
