// Whether a worker would be better off restarted. Pure.

/// Watches samples for what does not mend itself: a home event loop that stands still, queues that are not consumed, a
/// broker that says nothing, commands in work that make no step. Each may last for a while.
///
/// Waiting is no trouble: a command between two attempts, an org in parking, a store that is away make steps or hold no
/// slot.
public struct Liveness: Sendable {
    /// How long each trouble may last.
    public struct Limits: Sendable, Hashable {
        /// Without a sample, or without a subscription to every queue.
        public var limit: Duration
        /// Without a word of the broker, heartbeats included; `nil` where there are none.
        public var silence: Duration?
        /// Without a step of any command while some are in work; longer than the longest single step.
        public var stall: Duration

        /// - Parameters:
        ///   - limit: `admin.livenessLimit`.
        ///   - heartbeat: zero is off.
        ///   - longestStep: the most that a call, a confirm or an operation of the store may take.
        public init(limit: Duration, heartbeat: Duration, longestStep: Duration) {
            self.limit = limit
            // The broker sends one every half of it, and the connection is given up after two are missed.
            silence = heartbeat > .zero ? max(limit, heartbeat * 3) : nil
            stall = max(limit, longestStep + .seconds(10))
        }
    }

    private let limits: Limits
    private var sampledAt: ContinuousClock.Instant
    private var consumedAt: ContinuousClock.Instant
    private var heardAt: ContinuousClock.Instant
    private var movedAt: ContinuousClock.Instant
    private var steps: UInt64 = 0
    private var outstanding = 0
    private var isDraining = false
    private var trouble = "the worker has not consumed yet"

    /// - Parameter start: when the worker began: it has the same time for its first connection as for any other.
    public init(_ limits: Limits, start: ContinuousClock.Instant) {
        self.limits = limits
        sampledAt = start
        consumedAt = start
        heardAt = start
        movedAt = start
    }

    public mutating func saw(_ sample: WorkerSample) {
        let now = sample.takenAt
        let pipeline = sample.pipeline
        sampledAt = now
        isDraining = pipeline.isDraining
        if sample.consumer.isSubscribed {
            consumedAt = now
            heardAt = sample.consumer.lastHeard ?? now
        } else {
            heardAt = now
            let error = sample.consumer.lastError ?? sample.consumer.queues.first { !$0.isSubscribed }?.lastError
            trouble = error.map { "\($0)" } ?? "no connection yet"
        }
        // Somebody must be moving where a slot is taken, and where deliveries are neither worked on nor waited with.
        let mustMove = pipeline.running > 0 || sample.outstanding > 0 && pipeline.paused == 0 && pipeline.heldBack == 0
        if !mustMove || pipeline.steps != steps || sample.outstanding != outstanding { movedAt = now }
        steps = pipeline.steps
        outstanding = sample.outstanding
    }

    /// What lasts for too long by now; nothing while the worker is live.
    public func problems(now: ContinuousClock.Instant) -> [String] {
        var problems: [String] = []
        func check(_ since: ContinuousClock.Instant, _ limit: Duration?, _ text: (Int64) -> String) {
            guard let limit, now - since > limit else { return }
            problems.append(text((now - since).components.seconds))
        }
        check(sampledAt, limits.limit) { "the event loop has not turned for \($0) s" }
        // A drain has its own limit, and closes connections.
        if isDraining { return problems }
        check(consumedAt, limits.limit) { "not consuming for \($0) s: \(trouble)" }
        check(heardAt, limits.silence) { "the broker has said nothing for \($0) s" }
        check(movedAt, limits.stall) {
            "no command has made a step for \($0) s, though \(outstanding) are unacknowledged"
        }
        return problems
    }
}
