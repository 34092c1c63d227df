// Publishes with confirms over one connection with a thread of its own.
public import AMQPMessage

/// A publisher: every message gets one ``PublishOutcome``.
///
/// Messages go out in the order in which they are given. Of two mandatory messages with the same `message_id` (or both
/// without one), exchange and routing key, the second waits until the first is answered or its time is over, since a
/// returned message is told by these three alone. So give mandatory messages a `message_id` of their own, or they go one by
/// one.
public final class AMQPPublisher: Sendable {
    private let shared: PublisherShared
    private let limits: PublisherLimits
    private let onResults: @Sendable ([PublishResult]) -> Void
    private let onEvent: @Sendable (PublisherEvent) -> Void

    /// Prepares a publisher; ``start()`` sets it going.
    /// - Parameters:
    ///   - onResults: takes the outcomes of what was given to ``enqueue(_:)``, in batches, on the publisher's thread.
    ///   - onEvent: called on the publisher's thread.
    /// - Throws: ``AMQPError/library(code:text:)`` when the process has no file descriptor left.
    public init(
        _ configuration: AMQPConfiguration, limits: PublisherLimits = PublisherLimits(),
        onResults: @escaping @Sendable ([PublishResult]) -> Void = { _ in },
        onEvent: @escaping @Sendable (PublisherEvent) -> Void = { _ in }
    ) throws(AMQPError) {
        shared = PublisherShared(configuration: configuration, lifecycle: try Lifecycle())
        self.limits = limits
        self.onResults = onResults
        self.onEvent = onEvent
    }

    deinit { shared.lifecycle.stop() }

    /// Starts connecting. Later calls, and calls after a close, do nothing.
    public func start() {
        guard shared.lifecycle.start() else { return }
        let loop = { @Sendable [shared, limits, onResults, onEvent] in
            PublisherLoop(shared: shared, limits: limits, onResults: onResults, onEvent: onEvent).run()
        }
        if !IOThread.start(name: "amqp-publisher", loop) {
            shared.lifecycle.end()
            // Nobody else would answer those who wait, or who come later.
            shared.drop(onResults)
            onEvent(.connectionLost(.library(code: 0, text: "the system has no thread left")))
        }
    }

    /// Takes messages to publish, also while there is no connection; their outcomes come through `onResults`, exactly
    /// one for each. Costs one lock and at most one wake-up. Before ``start()`` they wait.
    public func enqueue(_ batch: [Publication]) {
        if batch.isEmpty { return }
        let isOpen = shared.state.withLock { state in
            if state.isClosed { return false }
            state.incoming.reserveCapacity(state.incoming.count + batch.count)
            for publication in batch {
                state.incoming.append(
                    Outgoing(
                        message: publication.message, deadline: publication.deadline,
                        waiter: .ticket(publication.ticket)))
            }
            return true
        }
        if isOpen {
            shared.lifecycle.wake.signal()
        } else {
            onResults(batch.map { PublishResult(ticket: $0.ticket, outcome: .failed(.closed)) })
        }
    }

    /// Publishes one message and waits for its outcome, for about `timeout` at most.
    public func publish(_ message: OutgoingMessage, timeout: Duration) async -> PublishOutcome {
        await withCheckedContinuation { continuation in
            enqueue(
                Outgoing(message: message, deadline: .now + timeout, waiter: .continuation(continuation)))
        }
    }

    /// Publishes messages in one crossing; the outcomes are in their order.
    public func publish(_ messages: [OutgoingMessage], timeout: Duration) async -> [PublishOutcome] {
        if messages.isEmpty { return [] }
        let deadline = ContinuousClock.now + timeout
        return await withCheckedContinuation { continuation in
            let group = Waiter.Group(messages.count, continuation)
            let batch = messages.enumerated().map { index, message in
                Outgoing(message: message, deadline: deadline, waiter: .member(group, index))
            }
            let isOpen = shared.state.withLock { state in
                if !state.isClosed { state.incoming.append(contentsOf: batch) }
                return !state.isClosed
            }
            if isOpen {
                shared.lifecycle.wake.signal()
            } else {
                for index in messages.indices { group.resolve(index, .failed(.closed)) }
            }
        }
    }

    private func enqueue(_ outgoing: Outgoing) {
        let isOpen = shared.state.withLock { state in
            if !state.isClosed { state.incoming.append(outgoing) }
            return !state.isClosed
        }
        if isOpen {
            shared.lifecycle.wake.signal()
        } else if let result = outgoing.waiter.resolve(.failed(.closed)) {
            onResults([result])
        }
    }

    public var status: PublisherStatus { shared.state.withLock { $0.status } }

    /// Publishes what is queued and waits for the confirms, then closes the connection; returns when that is done or the
    /// limit is over. What has no outcome by then fails with ``AMQPError/closed``.
    public func close(within limit: Duration = .seconds(5)) async {
        await shared.lifecycle.close(within: limit)
        shared.drop(onResults)
    }

    /// Drops the connection at once; what has no outcome yet fails with ``AMQPError/closed``. Does not wait.
    public func closeNow() {
        shared.lifecycle.stop()
        // Where the thread was never started, nobody else answers those who wait.
        if shared.lifecycle.phase == .ended { shared.drop(onResults) }
    }
}

/// Who is told of an outcome.
enum Waiter: Sendable {
    case ticket(UInt64)
    case continuation(CheckedContinuation<PublishOutcome, Never>)
    case member(Group, Int)

    /// Collects the outcomes of messages that are waited for together.
    final class Group: Sendable {
        private struct State {
            var outcomes: [PublishOutcome]
            var missing: Int
        }

        private let state: Locked<State>
        private let continuation: CheckedContinuation<[PublishOutcome], Never>

        init(_ count: Int, _ continuation: CheckedContinuation<[PublishOutcome], Never>) {
            state = Locked(State(outcomes: Array(repeating: .failed(.closed), count: count), missing: count))
            self.continuation = continuation
        }

        func resolve(_ index: Int, _ outcome: PublishOutcome) {
            let outcomes: [PublishOutcome]? = state.withLock { state in
                state.outcomes[index] = outcome
                state.missing -= 1
                return state.missing == 0 ? state.outcomes : nil
            }
            if let outcomes { continuation.resume(returning: outcomes) }
        }
    }

    /// - Returns: the result where it is to go out with a batch.
    func resolve(_ outcome: PublishOutcome) -> PublishResult? {
        switch self {
        case .ticket(let ticket): return PublishResult(ticket: ticket, outcome: outcome)
        case .continuation(let continuation): continuation.resume(returning: outcome)
        case .member(let group, let index): group.resolve(index, outcome)
        }
        return nil
    }
}

/// A message on its way to the publisher's thread, and then in its queue.
struct Outgoing: Sendable {
    var message: OutgoingMessage
    var deadline: ContinuousClock.Instant
    var waiter: Waiter
}

/// What the publisher's callers and its thread share.
final class PublisherShared: Sendable {
    struct State {
        var incoming: [Outgoing] = []
        /// Nobody takes what comes in any more.
        var isClosed = false
        var status = PublisherStatus()
    }

    let configuration: AMQPConfiguration
    let lifecycle: Lifecycle
    let state = Locked(State())

    init(configuration: AMQPConfiguration, lifecycle: Lifecycle) {
        self.configuration = configuration
        self.lifecycle = lifecycle
    }

    /// Takes nothing more, and fails what nobody took.
    func drop(_ onResults: ([PublishResult]) -> Void) {
        let left = state.withLock { state in
            state.isClosed = true
            defer { state.incoming = [] }
            return state.incoming
        }
        let results = left.compactMap { $0.waiter.resolve(.failed(.closed)) }
        if !results.isEmpty { onResults(results) }
    }
}
