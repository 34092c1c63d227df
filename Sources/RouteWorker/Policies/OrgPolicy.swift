// How one org's commands are worked on: what the configuration says of it.

public import AMQP

/// How the commands of one org are worked on.
public struct OrgPolicy: Sendable, Hashable {
    /// For one call: token, connection, request and answer together.
    public var callTimeout: Duration
    /// A call is not started with less time than this before the command's deadline.
    public var minimumCallTime: Duration
    public var retry: RetryPolicy
    public var unknownEffect: UnknownEffectPolicy
    /// Commands of the org in work at one time, at least 1; `nil` is as many as the worker has slots.
    public var maximumConcurrency: Int?
    /// Calls a second of all workers together, more than 0; `nil` for no limit.
    public var rateLimit: Double?
    /// What happens when the whole org is in trouble; `nil` works on in place, within each command's retry budget.
    public var parking: ParkingPolicy?

    public init(
        callTimeout: Duration = .seconds(10), minimumCallTime: Duration = .seconds(1),
        retry: RetryPolicy = RetryPolicy(), unknownEffect: UnknownEffectPolicy = .report,
        maximumConcurrency: Int? = nil, rateLimit: Double? = nil, parking: ParkingPolicy? = ParkingPolicy()
    ) {
        self.callTimeout = callTimeout
        self.minimumCallTime = min(minimumCallTime, callTimeout)
        self.retry = retry
        self.unknownEffect = unknownEffect
        self.maximumConcurrency = maximumConcurrency
        self.rateLimit = rateLimit
        self.parking = parking
    }
}

/// When an org is parked, and how its return is tried.
public struct ParkingPolicy: Sendable, Hashable {
    /// The circuit breaker opens when this part of the calls failed, in percent; 1 to 100.
    public var failurePercent: Int
    /// Calls within the window below which the breaker never opens; at least 1.
    public var minimumCalls: Int
    /// How far back calls count.
    public var window: Duration
    /// Between two probes of a parked org.
    public var probe: Backoff

    public init(
        failurePercent: Int = 50, minimumCalls: Int = 5, window: Duration = .seconds(30),
        probe: Backoff = Backoff(minimum: .seconds(1), maximum: .seconds(60))
    ) {
        self.failurePercent = failurePercent
        self.minimumCalls = minimumCalls
        self.window = window
        self.probe = probe
    }
}

/// Why an org is parked. The raw values stand in logs.
enum ParkingReason: String, Sendable, Hashable {
    /// Salesforce refuses every command of the org until somebody changes the configuration on either side.
    case configuration
    /// No access token can be had, or the one there is is not accepted.
    case token
    /// Too many calls failed.
    case breakerOpen = "breaker-open"
    /// The org is being migrated (code 10019).
    case readOnly = "read-only"
    /// The org asked for a longer pause (`Retry-After`) than commands wait for in place.
    case busy
    /// An operator paused it.
    case paused
    /// An operator has its commands handed on to a queue that does not take them.
    case passthroughBlocked = "passthrough-blocked"
    /// More of its commands wait than its share of the prefetch.
    case backlog
    /// A parking queue held commands when the worker looked: its own before a restart, or another worker's.
    case leftOver = "left-over"

    /// A `Retry-After` of this much parks the org; a shorter one is waited for in place.
    static let longestPoliteWait: Duration = .seconds(5)
}
