// When so many calls to an org fail that calling on would only do harm. Pure.

/// A circuit breaker over a rolling failure rate.
///
/// *Closed* it counts; once enough calls were made within the window and enough of them failed, it is *open*, and whoever
/// asks it makes no calls. A probe that succeeds leaves it *half open*: the next calls are a trial, of which the first
/// failure opens it again and a few successes close it.
struct CircuitBreaker: Sendable, Hashable {
    /// When it opens.
    struct Settings: Sendable, Hashable {
        /// The part of calls that must have failed, in percent; 1 to 100.
        var failurePercent: Int
        /// Calls within the window below which it never opens; at least 1. As many successes end a trial.
        var minimumCalls: Int
        /// How far back calls count.
        var window: Duration

        init(failurePercent: Int = 50, minimumCalls: Int = 5, window: Duration = .seconds(30)) {
            self.failurePercent = failurePercent
            self.minimumCalls = minimumCalls
            self.window = window
        }
    }

    private enum State: Hashable {
        case closed
        case open
        /// With so many successes so far.
        case halfOpen(Int)
    }

    /// Calls that ended within one part of the window.
    private struct Bucket: Hashable {
        var index: Int64
        var calls = 0
        var failures = 0
    }

    /// The window moves in steps of one of these parts.
    private static let parts = 10

    var settings: Settings
    private var state = State.closed
    private var buckets: [Bucket] = []

    init(_ settings: Settings = Settings()) {
        self.settings = settings
    }

    var isOpen: Bool { state == .open }
    /// Whether calls are the trial after a probe.
    var isOnTrial: Bool { if case .halfOpen = state { true } else { false } }

    /// A call ended.
    ///
    /// - Parameters:
    ///   - failed: whether by the org's trouble; a command's own refusal is a success of the service.
    ///   - now: on a clock that never steps.
    /// - Returns: whether this call opened it.
    mutating func ended(failed: Bool, now: Duration) -> Bool {
        switch state {
        case .open:
            // A call that was under way when it opened.
            return false
        case .halfOpen(let successes):
            if failed {
                open()
                return true
            }
            state = successes + 1 >= settings.minimumCalls ? .closed : .halfOpen(successes + 1)
            return false
        case .closed:
            count(failed, now)
            // Only a failure can open it, and most calls are none.
            guard failed else { return false }
            let calls = buckets.reduce(0) { $0 + $1.calls }
            let failures = buckets.reduce(0) { $0 + $1.failures }
            guard calls >= settings.minimumCalls, failures * 100 >= calls * settings.failurePercent else {
                return false
            }
            open()
            return true
        }
    }

    /// Something else than the rate showed that calls are in vain.
    mutating func open() {
        state = .open
        buckets = []
    }

    /// A probe succeeded: the next calls are a trial.
    mutating func tryAgain() {
        state = .halfOpen(0)
        buckets = []
    }

    private mutating func count(_ failed: Bool, _ now: Duration) {
        let part = max(settings.window / Self.parts, .milliseconds(1))
        let index = Int64(now / part)
        buckets.removeAll { $0.index <= index - Int64(Self.parts) }
        if buckets.last?.index != index { buckets.append(Bucket(index: index)) }
        buckets[buckets.count - 1].calls += 1
        if failed { buckets[buckets.count - 1].failures += 1 }
    }
}
